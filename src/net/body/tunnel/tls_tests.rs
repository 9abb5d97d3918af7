//! Tunnels that begin, go on or both inside TLS.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tests::{content, pair as plain_pair, swap};
use super::*;
use crate::faults::FaultChange;
use crate::net::faults::LiveFaults;
use crate::net::os::clock::Clock;
use crate::net::tls::tests as tls;

const LONG: Duration = Duration::from_secs(20);
const LIMITS: TunnelLimits = TunnelLimits { idle: LONG, half_closed: LONG };
/// Which of the two connections have TLS.
const KINDS: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

async fn pair(encrypted: bool) -> (Socket, Socket) {
    if encrypted {
        let key = tls::pair();
        let (near, far) = tls::connected(&key, &key, 0).await;
        return (near.unwrap(), far.unwrap());
    }
    let (near, far) = plain_pair().await;
    (Socket::new(near), Socket::new(far))
}

/// Starts a tunnel; returns its two ends, and the task.
async fn scene(kind: (bool, bool), changes: &[FaultChange]) -> (Socket, Socket, JoinHandle<Result<(), TunnelError>>) {
    let ((client, accepted), (connected, server)) = (pair(kind.0).await, pair(kind.1).await);
    let faults = LiveFaults::default();
    faults.apply(changes);
    let tunnel = tokio::spawn(async move {
        let (to_server, to_client) = (Meter::default(), Meter::default());
        let end = |socket, meter| TunnelEnd { socket, early: Vec::new(), low_rtt: true, meter };
        let options = CopyOptions::of_test(&to_client, Clock::start(), &faults, LONG);
        run(end(accepted, &to_server), end(connected, &to_client), LIMITS, options, &Arc::default())
            .await
            .close(LONG)
            .await
    });
    (client, server, tunnel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transfers_both_ways_at_once_arrive_whole() {
    let (up, down) = (content(3, 3_000_000), content(7, 2_000_001));
    for kind in KINDS {
        for changes in [&[][..], &[FaultChange::Fragment(Some(50_000))]] {
            let (client, server, tunnel) = scene(kind, changes).await;
            let both = async { tokio::join!(swap(client, up.clone()), swap(server, down.clone())) };
            let (at_client, at_server) = timeout(LONG, both).await.expect("in time");
            assert!(at_client == down && at_server == up, "{kind:?}");
            tunnel.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    for kind in KINDS {
        for client_first in [true, false] {
            let (client, server, tunnel) = scene(kind, &[]).await;
            let (mut first, mut second) = if client_first { (client, server) } else { (server, client) };
            let all = async {
                let mut received = Vec::new();
                first.write_all(b"question").await.unwrap();
                first.shutdown().await.unwrap();
                second.read_to_end(&mut received).await.unwrap();
                second.write_all(b"answer").await.unwrap();
                second.shutdown().await.unwrap();
                first.read_to_end(&mut received).await.unwrap();
                assert_eq!(received, b"questionanswer");
                tunnel.await.unwrap().unwrap();
            };
            timeout(LONG, all).await.expect("in time");
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_without_the_end_of_tls_is_no_end_of_the_data() {
    for kind in KINDS {
        let (client, server, tunnel) = scene(kind, &[]).await;
        let (cut, mut other) = if kind.0 { (client, server) } else { (server, client) };
        let mut cut = cut;
        cut.write_all(b"half of it").await.unwrap();
        let mut received = [0; 10];
        other.read_exact(&mut received).await.unwrap();
        SockRef::from(&*cut).shutdown(std::net::Shutdown::Write).unwrap();
        let rest = timeout(LONG, other.read(&mut received)).await.expect("in time");
        assert!(rest.is_err(), "{kind:?}: {rest:?}");
        drop(cut);
        assert!(timeout(LONG, tunnel).await.expect("in time").unwrap().is_err(), "{kind:?}");
    }
}
