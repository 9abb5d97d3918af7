//! A client that is not ours and reads slowly, and the verdict of a dashboard that only watches.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chainview::cli::{self, RunMode};
use chainview::dashboard::Controller;
use chainview::plan::ChainPlan;
use chainview::secret::Secret;
use socket2::{Domain, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::cause::Cause;
use super::scene::{Scene, TIMEOUT, TOKEN, TOKEN_FILE};

/// Lets such a client read, and watches; returns the verdict after this time.
pub(crate) fn verdict_on(scene: &Scene, cause: &Cause, within: Duration) -> serde_json::Value {
    // Without a cause it reads as fast as it can, in large chunks.
    let (at, rate, chunk, buffer) = match *cause {
        Cause::Reader { at, rate, chunk, buffer } => (at, rate as f64, chunk, Some(buffer)),
        _ => (1, f64::INFINITY, 1 << 18, None),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (screen, snapshots) = watch::channel(Arc::default());
    let (_commands, wanted) = mpsc::channel(1);
    let (_panics, reports) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let controlling = {
        let _in = runtime.enter();
        runtime.spawn(Controller::new(plan(scene), screen, cancel.clone()).run(wanted, reports))
    };
    let done = AtomicBool::new(false);
    let verdict = thread::scope(|scope| {
        let (started, began) = std::sync::mpsc::channel();
        let mut stream = begin_fetch(&scene.addresses[at - 1..], buffer);
        scope.spawn({
            let done = &done;
            move || {
                let (mut space, pause) = (vec![0; chunk], Duration::from_secs_f64(chunk as f64 / rate));
                while !done.load(Ordering::Relaxed) && matches!(stream.read(&mut space), Ok(1..)) {
                    let _ = started.send(());
                    if !pause.is_zero() {
                        thread::sleep(pause);
                    }
                }
            }
        });
        began.recv_timeout(TIMEOUT).expect("its first byte");
        let end = Instant::now() + within;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        done.store(true, Ordering::Relaxed);
        serde_json::to_value(snapshots.borrow().others).unwrap()
    });
    cancel.cancel();
    runtime.block_on(async { tokio::time::timeout(TIMEOUT, controlling).await }).expect("it shuts down").unwrap();
    verdict
}

/// A dashboard that starts and fetches nothing.
fn plan(scene: &Scene) -> ChainPlan {
    // Token files are in the configuration folder, which the environment names for a whole process: this one runs many
    // tests, so the tokens are put into the plan instead.
    let (input, text) = (scene.folder.path().join("plan.txt"), fs::read_to_string(scene.input()).unwrap());
    fs::write(&input, text.replace(&format!(" token-file={TOKEN_FILE}"), "")).unwrap();
    let line =
        [PathBuf::from("chainview"), input.clone(), "--no-spawn".into(), "-o".into(), scene.folder.path().into()];
    let RunMode::Dashboard { fetch, nodes, no_spawn, .. } = cli::read_from(line, None).unwrap().mode else {
        panic!("not the dashboard")
    };
    let mut plan = ChainPlan::of_file(&input, &fetch, &nodes, no_spawn).unwrap();
    plan.tokens.fill_with(|| Some(Secret::new(TOKEN).unwrap()));
    plan
}

/// Requests the file from the first of these hops.
fn begin_fetch(hops: &[String], buffer: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer).unwrap();
    }
    let first: SocketAddr = hops[0].parse().unwrap();
    socket.connect(&first.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let route = hops[1..].join(", ");
    write!(stream, "GET /files/f HTTP/1.1\r\nHost: {first}\r\nChain-Route: {route}\r\n\r\n").unwrap();
    stream
}
