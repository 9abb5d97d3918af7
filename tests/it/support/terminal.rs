//! A program in a terminal of its own: keys in, the screen out through an emulator, and the modes before and after.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Far longer than any step of these tests takes, even on a loaded machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// Interval for polling what sends no event, such as the end of a process that is not a child.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A program on a terminal; it is killed when this is dropped.
pub(crate) struct Terminal {
    master: Option<Box<dyn MasterPty + Send>>,
    writer: Option<Box<dyn Write + Send>>,
    reader: Option<thread::JoinHandle<()>>,
    shared: Arc<Shared>,
    exit: Receiver<ExitStatus>,
    modes: String,
    pid: Pid,
}

struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    emulator: vt100::Parser,
    /// All bytes written, in order.
    sent: Vec<u8>,
    /// When the last of it was read.
    read_at: Instant,
    reading: Reading,
    /// The last program on the terminal has closed it, and all its output has been read.
    ended: bool,
}

/// What the reader does with the output of the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Displays it.
    On,
    /// Leaves it in the kernel's queue, which fills.
    Paused,
    /// Ends, so that the last holder of the terminal can close it.
    Ended,
}

/// The chainview binary without the tester's own settings.
pub(crate) fn chainview(folder: &Path, flags: &str) -> CommandBuilder {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_chainview"));
    command.args(flags.split_whitespace());
    settle(&mut command, folder);
    command
}

/// A command with a known environment and working folder.
pub(crate) fn settle(command: &mut CommandBuilder, folder: &Path) {
    command.env_clear();
    command.env("HOME", folder);
    command.env("TERM", "xterm-256color");
    command.cwd(folder);
}

impl Terminal {
    /// Starts a program on a terminal of this size.
    pub(crate) fn start(command: CommandBuilder, columns: u16, rows: u16) -> Self {
        Self::start_on(size(columns, rows), command, columns, rows)
    }

    /// Starts a program on a terminal that reports no size, as a serial console; the emulated screen has this one.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn start_without_size(command: CommandBuilder, columns: u16, rows: u16) -> Self {
        Self::start_on(size(0, 0), command, columns, rows)
    }

    fn start_on(size: PtySize, command: CommandBuilder, columns: u16, rows: u16) -> Self {
        let pair = native_pty_system().openpty(size).unwrap();
        let modes = modes(pair.master.as_ref());
        let mut child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let pid = child.process_id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap())).unwrap();
        let (sender, exit) = channel();
        thread::spawn(move || sender.send(child.wait().unwrap()));
        let state = State {
            emulator: vt100::Parser::new(wide(rows), wide(columns), 0),
            sent: Vec::new(),
            read_at: Instant::now(),
            reading: Reading::On,
            ended: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new() });
        let stream = pair.master.try_clone_reader().unwrap();
        let showing = Arc::clone(&shared);
        let reader = Some(thread::spawn(move || showing.read(stream)));
        let writer = Some(pair.master.take_writer().unwrap());
        Self { master: Some(pair.master), writer, reader, shared, exit, modes, pid }
    }

    /// Types this.
    pub(crate) fn keys(&mut self, keys: &str) {
        let writer = self.writer.as_mut().unwrap();
        writer.write_all(keys.as_bytes()).and_then(|()| writer.flush()).unwrap();
    }

    /// Types this repeatedly, until the terminal is closed.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn flood(&mut self, keys: &'static str) {
        let mut writer = self.writer.take().unwrap();
        let keys = keys.repeat(1000);
        thread::spawn(move || while writer.write_all(keys.as_bytes()).is_ok() {});
    }

    /// Waits until the screen is as wanted, and returns it as text.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) -> String {
        self.within(TIMEOUT, what, wanted)
    }

    /// Waits with this limit.
    pub(crate) fn within(&self, limit: Duration, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) -> String {
        contents(&self.wait(limit, what, wanted))
    }

    /// Waits until the screen is as wanted, and returns when the bytes that made it so were read.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn painted(&self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) -> Instant {
        self.wait(TIMEOUT, what, wanted).read_at
    }

    /// Passes the current screen to a function.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn inspect<T>(&self, inspect: impl FnOnce(&vt100::Screen) -> T) -> T {
        inspect(self.shared.lock().emulator.screen())
    }

    fn wait(&self, limit: Duration, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) -> MutexGuard<'_, State> {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        while !wanted(state.emulator.screen()) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not within {limit:?}: {what}; the screen:\n{}", contents(&state));
            state = self.shared.news.wait_timeout(state, left).unwrap().0;
        }
        state
    }

    /// Waits until the screen contains all of these.
    pub(crate) fn shows(&self, texts: &[&str]) -> String {
        self.until(&format!("{texts:?}"), |screen| {
            let text = screen.contents();
            texts.iter().all(|wanted| text.contains(wanted))
        })
    }

    /// Resizes the terminal; the program is notified by a signal.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.shared.lock().emulator.screen_mut().set_size(wide(rows), wide(columns));
        self.master.as_ref().unwrap().resize(size(columns, rows)).unwrap();
    }

    /// Stops reading: soon the terminal accepts no more bytes.
    pub(crate) fn block(&self) {
        self.set(Reading::Paused);
    }

    /// Resumes reading.
    pub(crate) fn unblock(&self) {
        self.set(Reading::On);
    }

    /// Closes the terminal, as its window does.
    pub(crate) fn close(&mut self) {
        self.set(Reading::Ended);
        // The reader waits for bytes, and a new size makes the program write some.
        self.resize(70, 20);
        self.reader.take().unwrap().join().unwrap();
        self.writer = None;
        self.master = None;
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for the program to end, and returns its status.
    pub(crate) fn ends(&self, limit: Duration) -> ExitStatus {
        self.exit.recv_timeout(limit).unwrap_or_else(|_| {
            panic!("not ended within {limit:?}; the screen:\n{}", contents(&self.shared.lock()));
        })
    }

    /// Checks that the terminal is as it was before the program: modes, screen, cursor. Only after the program ended.
    pub(crate) fn is_given_back(&self) {
        self.has_its_modes();
        let mut state = self.shared.lock();
        while !state.ended {
            let (next, late) = self.shared.news.wait_timeout(state, TIMEOUT).unwrap();
            assert!(!late.timed_out(), "a process holds the terminal open");
            state = next;
        }
        let (screen, text) = (state.emulator.screen(), contents(&state));
        assert!(!screen.alternate_screen(), "the screen is not left:\n{text}");
        assert!(!screen.hide_cursor() && !screen.bracketed_paste(), "the cursor is hidden, or bracketed paste is on");
        assert!(!listens_to_mouse(screen), "the mouse is still reported");
        let count = |sequence: &str| find_all(&state.sent, sequence.as_bytes()).len();
        assert_eq!(count("\x1b[22;2t"), count("\x1b[23;2t"), "the title of the window is not restored");
        let progress = find_all(&state.sent, b"\x1b]9;4;").last().map(|at| state.sent[at + 6]);
        assert!(progress.is_none_or(|kind| kind == b'0'), "progress is still shown");
    }

    /// Checks that the terminal has the modes that it had before the program.
    pub(crate) fn has_its_modes(&self) {
        assert_eq!(modes(self.master.as_ref().unwrap().as_ref()), self.modes, "terminal modes");
    }

    /// All output of the program, byte by byte; only after it ended.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn sent(&self) -> Vec<u8> {
        let mut state = self.shared.lock();
        while !state.ended {
            let (next, late) = self.shared.news.wait_timeout(state, TIMEOUT).unwrap();
            assert!(!late.timed_out(), "a process holds the terminal open");
            state = next;
        }
        state.sent.clone()
    }

    /// Waits until the program has written these bytes.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn sends(&self, wanted: &str) {
        let end = Instant::now() + TIMEOUT;
        let mut state = self.shared.lock();
        while find_all(&state.sent, wanted.as_bytes()).is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not sent: {wanted:?}; the screen:\n{}", contents(&state));
            state = self.shared.news.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Peak memory of the program, in KiB.
    #[allow(dead_code, reason = "each test crate uses its own part of this")]
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// The processes that the program has started and that still run.
    pub(crate) fn children(&self) -> Vec<Pid> {
        children_of(self.pid)
    }

    fn set(&self, reading: Reading) {
        self.shared.lock().reading = reading;
        self.shared.news.notify_all();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.exit.try_recv().is_err() {
            // Its nodes end with it.
            let _ = kill_process(self.pid, Signal::KILL);
        }
        self.set(Reading::Ended);
    }
}

impl Shared {
    /// A check that panics while it holds the screen leaves it consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, mut stream: Box<dyn Read + Send>) {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let read_at = Instant::now();
            let mut state = self.lock();
            state.read_at = read_at;
            state.emulator.process(&bytes[..count]);
            state.sent.extend_from_slice(&bytes[..count]);
            self.news.notify_all();
            while state.reading == Reading::Paused {
                state = self.news.wait(state).unwrap();
            }
            if state.reading == Reading::Ended {
                return;
            }
        }
        self.lock().ended = true;
        self.news.notify_all();
    }
}

/// The processes that this one has started and that still run.
pub(crate) fn children_of(process: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name is in parentheses and may contain anything; after it: state, parent.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if parent == Some(process.as_raw_nonzero().get()) {
            found.extend(entry.file_name().to_str().and_then(|id| Pid::from_raw(id.parse().ok()?)));
        }
    }
    found
}

/// Waits until none of these processes runs; a zombie does not run.
pub(crate) fn all_ended(pids: &[Pid], limit: Duration) -> bool {
    let end = Instant::now() + limit;
    while pids.iter().any(|pid| is_running(*pid)) {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(POLL_INTERVAL);
    }
    true
}

/// Whether a process runs or sleeps.
pub(crate) fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    test_kill_process(pid).is_ok() && !matches!(state, None | Some('Z' | 'X'))
}

/// Whether clicks go to the program, and not to the terminal's own selection.
pub(crate) fn listens_to_mouse(screen: &vt100::Screen) -> bool {
    screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None
}

/// The positions of these bytes.
pub(crate) fn find_all(sent: &[u8], wanted: &[u8]) -> Vec<usize> {
    (0..sent.len()).filter(|at| sent[*at..].starts_with(wanted)).collect()
}

/// The modes of a terminal, as text that can be compared.
fn modes(master: &dyn MasterPty) -> String {
    let modes = master.get_termios().expect("the terminal has modes");
    let mut text = String::new();
    let flags = (modes.input_flags, modes.output_flags, modes.control_flags, modes.local_flags);
    let _ = write!(text, "{flags:?} {:?}", modes.control_chars);
    text
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

fn wide(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).unwrap()
}

fn contents(state: &State) -> String {
    state.emulator.screen().contents()
}
