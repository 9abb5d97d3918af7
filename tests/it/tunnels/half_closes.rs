//! Half-closes through chains of tunnels, in both orders: no answer is lost.

use super::*;

/// Runs in the usual test run, at each length of chain.
const RUNS: usize = 120;

/// What one run does: its order, and sizes from nothing to more than the sockets hold.
async fn half_close(scene: &Scene, run: usize) {
    let (asked, answered) = ([0, 1, 900, 70_000, 700_000][run % 5], [1, 0, 1400, 600_000, 65_536][run / 5 % 5]);
    let (request, answer) = (pattern(asked), pattern(answered));
    let (mut client, mut server) = scene.open().await;
    let shown = || format!("run {run}: {asked} bytes, {answered} back");
    if run.is_multiple_of(2) {
        // The client ends first, as one that has sent its request; the server answers at the end of that.
        let (received, ()) = tokio::join!(read_all(&mut server), async {
            client.write_all(&request).await.unwrap();
            client.shutdown().await.unwrap();
        });
        assert!(received.0 == request && received.1.is_ok(), "{}", shown());
        let (received, ()) = tokio::join!(read_all(&mut client), async {
            server.write_all(&answer).await.unwrap();
            drop(server);
        });
        assert!(received.0 == answer, "{}: {} arrived", shown(), received.0.len());
        assert!(received.1.is_ok(), "{}: {:?}", shown(), received.1);
    } else {
        // The server answers and ends before it has read anything, and reads then.
        let (received, ()) = tokio::join!(read_all(&mut client), async {
            server.write_all(&answer).await.unwrap();
            server.shutdown().await.unwrap();
        });
        assert!(received.0 == answer && received.1.is_ok(), "{}", shown());
        let (received, ()) = tokio::join!(read_all(&mut server), async {
            client.write_all(&request).await.unwrap();
            client.shutdown().await.unwrap();
        });
        assert!(received.0 == request && received.1.is_ok(), "{}", shown());
    }
}

async fn half_closes(runs: usize) {
    for relays in 1..=3 {
        let scene = Scene::start(relays, Limits::default()).await;
        for run in 0..runs {
            half_close(&scene, run).await;
        }
        for node in 0..relays {
            let snapshot = scene.until(node, |snapshot| snapshot.connections.is_empty()).await;
            assert_eq!((snapshot.totals.tunnels, snapshot.totals.failed), (runs as u64, 0), "{relays} relays");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_lost_in_either_order() {
    half_closes(RUNS).await;
}

/// The same 10,000 times: `cargo test --test it half_closes -- --ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn no_answer_is_lost_in_ten_thousand() {
    half_closes(10_000 / 3 + 1).await;
}

/// An answer before a reset arrives, through every relay, and the reset behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_a_reset_is_not_lost() {
    for relays in 1..=3 {
        let scene = Scene::start(relays, Limits::default()).await;
        for run in 0..40 {
            let (mut client, mut server) = scene.open().await;
            let answer = pattern([10, 5000, 60_000][run % 3]);
            client.write_all(b"a request that is not read").await.unwrap();
            server.readable().await.unwrap();
            let (received, ()) = tokio::join!(read_all(&mut client), async {
                server.write_all(&answer).await.unwrap();
                // Closed with unread data: the kernel sends a reset behind the answer.
                drop(server);
            });
            assert!(received.0 == answer, "{relays} relays, run {run}: {} arrived", received.0.len());
        }
    }
}
