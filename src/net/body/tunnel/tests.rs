//! Tunnels between real sockets: both orders of half-closes, failures of either end, limits and faults.

use std::io::ErrorKind;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::faults::FaultChange;
use crate::net::faults::LiveFaults;
use crate::net::os::clock::Clock;

/// Short for a limit that is to be reached; otherwise long enough for a loaded host.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);
const LIMITS: TunnelLimits = TunnelLimits { idle: LONG, half_closed: LONG };

/// A running tunnel, and what is at its ends.
struct Scene {
    client: TcpStream,
    server: TcpStream,
    tunnel: JoinHandle<Result<(), TunnelError>>,
    faults: Arc<LiveFaults>,
    meters: Arc<[Meter; 2]>,
}

pub(super) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn scene(limits: TunnelLimits, changes: &[FaultChange], early: [&'static [u8]; 2], pipes: Pipes) -> Scene {
    let ((client, accepted), (connected, server)) = (pair().await, pair().await);
    let (faults, meters) = (Arc::<LiveFaults>::default(), Arc::<[Meter; 2]>::default());
    faults.apply(changes);
    let (of_tunnel, counters) = (Arc::clone(&faults), Arc::clone(&meters));
    let tunnel = tokio::spawn(async move {
        let [to_server, to_client] = &*counters;
        let end = |stream, early: &[u8], meter| TunnelEnd {
            socket: Socket::new(stream),
            early: early.to_vec(),
            low_rtt: true,
            meter,
        };
        let ends = (end(accepted, early[0], to_server), end(connected, early[1], to_client));
        let options = CopyOptions::of_test(to_client, Clock::start(), &of_tunnel, LONG);
        run(ends.0, ends.1, limits, options, &Arc::new(pipes)).await.close(limits.idle).await
    });
    Scene { client, server, tunnel, faults, meters }
}

async fn plain() -> Scene {
    scene(LIMITS, &[], [b"", b""], Pipes::default()).await
}

impl Scene {
    async fn ended(self) -> Result<(), TunnelError> {
        timeout(LONG, self.tunnel).await.expect("the tunnel ends").unwrap()
    }
}

pub(super) fn content(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at + seed) * 31 % 251) as u8).collect()
}

/// Sends all of this and reads to the end at once.
pub(super) async fn swap<S>(stream: S, sent: Vec<u8>) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = split(stream);
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    received
}

async fn read_all(stream: &mut TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut all = Vec::new();
    let end = timeout(LONG, stream.read_to_end(&mut all)).await.expect("it ends in time");
    (all, end.map(drop))
}

#[tokio::test]
async fn the_answer_follows_the_end_of_the_request() {
    let mut scene = scene(LIMITS, &[], [b"hello, ", b"220 ready "], Pipes::default()).await;
    scene.client.write_all(b"who is there?").await.unwrap();
    scene.client.shutdown().await.unwrap();
    let (asked, end) = read_all(&mut scene.server).await;
    assert_eq!((asked.as_slice(), end.is_ok()), (&b"hello, who is there?"[..], true));
    scene.server.write_all(b"me").await.unwrap();
    scene.server.shutdown().await.unwrap();
    let (answer, end) = read_all(&mut scene.client).await;
    assert_eq!((answer.as_slice(), end.is_ok()), (&b"220 ready me"[..], true));
    let meters = Arc::clone(&scene.meters);
    scene.ended().await.unwrap();
    let flow = |meter: &Meter| (meter.flow(0).bytes_in, meter.flow(0).bytes_out);
    assert_eq!((flow(&meters[0]), flow(&meters[1])), ((20, 20), (12, 12)));
}

#[tokio::test]
async fn the_request_goes_on_after_the_end_of_the_answer() {
    let mut scene = plain().await;
    scene.server.write_all(b"stop, but go on").await.unwrap();
    scene.server.shutdown().await.unwrap();
    let (answer, end) = read_all(&mut scene.client).await;
    assert_eq!((answer.as_slice(), end.is_ok()), (&b"stop, but go on"[..], true));
    let sent = content(1, 500_000);
    let (mut received, writing) = (vec![0; sent.len()], scene.client.write_all(&sent));
    let (wrote, read) = tokio::join!(writing, scene.server.read_exact(&mut received));
    assert!(wrote.is_ok() && read.is_ok() && received == sent);
    scene.client.shutdown().await.unwrap();
    assert_eq!(scene.server.read(&mut [0; 1]).await.unwrap(), 0);
    scene.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transfers_both_ways_at_once_are_the_same_on_every_path() {
    let (up, down) = (content(3, 5_000_000), content(7, 4_000_001));
    for way in ["copied", "spliced", "disturbed", "changing"] {
        let pipes = if way == "copied" { Pipes::exhausted() } else { Pipes::default() };
        let fragment = FaultChange::Fragment(Some(50_000));
        let changes: &[FaultChange] = if way == "disturbed" { &[fragment] } else { &[] };
        let Scene { client, server, tunnel, faults, meters } = scene(LIMITS, changes, [b"", b""], pipes).await;
        let changing = async {
            // Each change moves the rest by another way, from wherever it is.
            for at in 0..if way == "changing" { 40 } else { 0 } {
                sleep(Duration::from_millis(2)).await;
                faults.apply(&[FaultChange::Fragment((at % 2 == 0).then_some(30_000))]);
            }
            faults.apply(&[FaultChange::Fragment((way == "disturbed").then_some(50_000))]);
        };
        let all = async { tokio::join!(swap(client, up.clone()), swap(server, down.clone()), changing) };
        let (at_client, at_server, ()) = timeout(3 * LONG, all).await.expect("in time");
        assert!(at_client == down && at_server == up, "{way}");
        tunnel.await.unwrap().unwrap();
        let flow = |meter: &Meter| (meter.flow(0).bytes_in as usize, meter.flow(0).bytes_out as usize);
        assert_eq!((flow(&meters[0]), flow(&meters[1])), ((up.len(), up.len()), (down.len(), down.len())), "{way}");
    }
}

/// What a server does when it has answered, without having read the whole request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaves {
    /// It closes with unread data, so that its kernel resets the connection.
    Resets,
    /// It closes, and its kernel resets the connection when more of the request comes.
    Closes,
}

#[tokio::test]
async fn an_answer_before_a_reset_arrives_and_the_reset_does_too() {
    for (leaves, more) in [(Leaves::Resets, false), (Leaves::Resets, true), (Leaves::Closes, true)] {
        let mut scene = plain().await;
        if leaves == Leaves::Resets {
            scene.client.write_all(b"not read").await.unwrap();
            while kernel::unread(&scene.server) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        // Nothing moves in the tunnel while the server answers and leaves.
        scene.faults.apply(&[FaultChange::Stall(true)]);
        // The sockets have room for this much.
        let answer = content(9, 50_000);
        scene.server.write_all(&answer).await.unwrap();
        drop(scene.server);
        if more {
            scene.client.write_all(b"more of it").await.unwrap();
        }
        scene.faults.apply(&[FaultChange::Stall(false)]);
        let (received, end) = read_all(&mut scene.client).await;
        assert!(received == answer, "{leaves:?} {more}: {} bytes arrived", received.len());
        // A stream that was ended has its end, whatever comes behind.
        let expected = if leaves == Leaves::Closes { Ok(()) } else { Err(ErrorKind::ConnectionReset) };
        assert_eq!(end.map_err(|error| error.kind()), expected, "{leaves:?} {more}");
        let ended = timeout(LONG, scene.tunnel).await.unwrap().unwrap().unwrap_err();
        assert_eq!(ended.body_error(), BodyError::SourceFailed, "{leaves:?} {more}: {ended}");
    }
}

#[tokio::test]
async fn a_client_that_resets_ends_both_directions_also_after_its_half_close() {
    for half_closed in [false, true] {
        let mut scene = plain().await;
        scene.client.write_all(b"x").await.unwrap();
        scene.server.read_exact(&mut [0; 1]).await.unwrap();
        if half_closed {
            scene.client.shutdown().await.unwrap();
            assert_eq!(scene.server.read(&mut [0; 1]).await.unwrap(), 0);
        }
        scene.client.set_zero_linger().unwrap();
        drop(scene.client);
        if half_closed {
            // Its end had come before; the reset shows when something is sent.
            let ended = timeout(LONG, scene.tunnel).await.expect("without waiting for data").unwrap().unwrap_err();
            assert_eq!(ended.body_error(), BodyError::ReaderLeft, "{ended}");
        } else {
            let read = scene.server.read(&mut [0; 1]).await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
            let ended = scene.tunnel.await.unwrap().unwrap_err();
            assert_eq!(ended.body_error(), BodyError::ReaderLeft, "{ended}");
        }
    }
}

#[tokio::test]
async fn silence_of_both_directions_ends_a_tunnel_and_of_one_does_not() {
    let limits = TunnelLimits { idle: SHORT, ..LIMITS };
    let scene = scene(limits, &[], [b"", b""], Pipes::default()).await;
    let Scene { mut client, mut server, tunnel, .. } = scene;
    let began = Instant::now();
    // Data flows in one direction for several times the limit.
    for _ in 0..15 {
        server.write_all(b"tick").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
        sleep(SHORT / 5).await;
    }
    let ended = timeout(LONG, tunnel).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(ended, TunnelError::Idle(limit) if limit == SHORT), "{ended}");
    assert!(began.elapsed() >= SHORT * 3, "{:?}", began.elapsed());
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_half_closed_tunnel_has_a_limit_of_its_own() {
    let limits = TunnelLimits { half_closed: SHORT, ..LIMITS };
    for of_client in [true, false] {
        let mut scene = scene(limits, &[], [b"", b""], Pipes::default()).await;
        let closes = if of_client { &mut scene.client } else { &mut scene.server };
        closes.shutdown().await.unwrap();
        let ended = timeout(LONG, scene.tunnel).await.unwrap().unwrap().unwrap_err();
        assert!(matches!(ended, TunnelError::HalfClosed(limit) if limit == SHORT), "{ended}");
    }
}

#[tokio::test]
async fn a_peer_that_accepts_nothing_is_given_up_on() {
    let limits = TunnelLimits { idle: SHORT, ..LIMITS };
    let scene = scene(limits, &[], [b"", b""], Pipes::default()).await;
    let Scene { mut client, server, tunnel, .. } = scene;
    let feeding = tokio::spawn(async move {
        let piece = vec![7; 100_000];
        while client.write_all(&piece).await.is_ok() {}
    });
    let ended = timeout(LONG + STEP_OF_WINDOW, tunnel).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(ended, TunnelError::Direction(Toward::NextHop, CopyError::Stalled(_)) | TunnelError::Idle(_)));
    feeding.await.unwrap();
    drop(server);
}

/// Time for which a reader with a closed window may acknowledge nothing, in these tests.
const STEP_OF_WINDOW: Duration = LONG;

#[tokio::test]
async fn faults_apply_to_each_direction() {
    // Each direction breaks off at the byte, by itself.
    for of_client in [true, false] {
        let scene = scene(LIMITS, &[FaultChange::Truncate(Some(1000))], [b"", b""], Pipes::default()).await;
        let Scene { client, server, tunnel, .. } = scene;
        let (mut sends, mut receives) = if of_client { (client, server) } else { (server, client) };
        sends.write_all(&content(1, 3000)).await.unwrap();
        let (received, end) = read_all(&mut receives).await;
        assert_eq!((received, end.is_err()), (content(1, 3000)[..1000].to_vec(), true));
        let ended = tunnel.await.unwrap().unwrap_err();
        assert!(matches!(ended, TunnelError::Direction(_, CopyError::Truncated(1000))), "{ended}");
        assert_eq!(ended.body_error(), BodyError::Stopped);
    }
    // A stall holds both back, and lets them go.
    let mut scene = scene(LIMITS, &[FaultChange::Stall(true)], [b"", b""], Pipes::default()).await;
    scene.client.write_all(b"up").await.unwrap();
    scene.server.write_all(b"down").await.unwrap();
    let (mut down, mut up) = ([0; 4], [0; 2]);
    assert!(timeout(SHORT, scene.client.read(&mut down)).await.is_err());
    assert!(timeout(SHORT, scene.server.read(&mut up)).await.is_err());
    scene.faults.apply(&[FaultChange::Stall(false)]);
    scene.client.read_exact(&mut down).await.unwrap();
    scene.server.read_exact(&mut up).await.unwrap();
    assert_eq!((&down, &up), (b"down", b"up"));
}

#[tokio::test]
async fn the_rate_limit_is_shared_by_both_directions() {
    const RATE: u64 = 200_000;
    let changes = [FaultChange::Limit(Some(RATE))];
    let scene = scene(LIMITS, &changes, [b"", b""], Pipes::default()).await;
    let Scene { mut client, mut server, tunnel, .. } = scene;
    let (began, sent) = (Instant::now(), content(1, 100_000));
    let (mut at_client, mut at_server) = (vec![0; sent.len()], vec![0; sent.len()]);
    tokio::try_join!(client.write_all(&sent), server.write_all(&sent)).unwrap();
    tokio::try_join!(client.read_exact(&mut at_client), server.read_exact(&mut at_server)).unwrap();
    assert!(at_client == sent && at_server == sent);
    assert!(began.elapsed() > Duration::from_millis(700), "{:?}", began.elapsed());
    drop((client, server));
    timeout(LONG, tunnel).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_tunnel_that_is_aborted_resets_both_connections() {
    let mut scene = plain().await;
    scene.server.write_all(b"the first half").await.unwrap();
    scene.client.read_exact(&mut [0; 14]).await.unwrap();
    scene.tunnel.abort();
    for stream in [&mut scene.client, &mut scene.server] {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
