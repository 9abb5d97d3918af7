//! Terminal modes: raw mode, the alternate screen, and their restoration in every case.
//!
//! Output goes to the descriptor directly and never through the standard library's locked stream, so that `restore`
//! works from any thread, even while the drawing thread is blocked by a terminal that accepts no more bytes.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, queue, style};
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::{TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};

use super::osc::{self, Multiplexer, NotificationForm, TaskbarProgress};
use crate::options::Alerts;

/// The terminal is taken. The code that clears this restores the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// The title of the window is saved, and replaced by that of this program. It survives a loss of the terminal, which
/// does not change it.
static TITLED: AtomicBool = AtomicBool::new(false);
/// Timeout of the restoration on a terminal that accepts no bytes; its mode is restored in any case.
const RESTORE_TIMEOUT: Duration = Duration::from_millis(200);
/// Turns on reports of mouse buttons and wheel, but not of motion.
const MOUSE: &[u8] = b"\x1b[?1000h\x1b[?1006h";
/// Control character that cancels an unfinished escape sequence.
const CANCEL: u8 = 0x18;

/// Screen on the terminal; dropping it restores the terminal.
pub struct Screen {
    terminal: ratatui::Terminal<CrosstermBackend<FrameOutput>>,
    area: Rect,
    mouse: bool,
    /// The title and the progress that were written last; `None` if both are to be left alone.
    title: Option<(String, TaskbarProgress)>,
}

impl Screen {
    /// Returns a screen that has not taken the terminal yet.
    ///
    /// # Errors
    /// An error if standard output is not a terminal, or its size cannot be read.
    pub fn new() -> io::Result<Self> {
        if !rustix::termios::isatty(stdout()) {
            return Err(io::Error::other("standard output is not one"));
        }
        let area = area()?;
        Ok(Self { terminal: blank(area)?, area, mouse: false, title: None })
    }

    /// Takes the terminal, or takes it again after another program had it: raw mode, the alternate screen, no cursor,
    /// bracketed paste. The next frame draws every cell.
    ///
    /// # Errors
    /// The terminal's error; its modes are restored then.
    pub fn take(&mut self) -> io::Result<()> {
        TAKEN.store(false, Ordering::SeqCst);
        // The other program has set modes of its own, which are those to restore in the end; the library keeps the
        // first modes that it has read until it restores them.
        disable_raw_mode()?;
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        // From here on a failure must restore the terminal.
        self.set_up().inspect_err(|_| restore())
    }

    fn set_up(&mut self) -> io::Result<()> {
        let mut output = FrameOutput::default();
        queue!(output, EnterAlternateScreen, cursor::Hide, EnableBracketedPaste)?;
        output.flush()?;
        self.area = area()?;
        self.terminal = blank(self.area)?;
        self.title = None;
        let mouse = std::mem::take(&mut self.mouse);
        self.report_mouse(mouse)
    }

    /// Turns mouse reports on or off; when they are off, the terminal's own text selection works.
    ///
    /// # Errors
    /// The terminal's error.
    pub fn report_mouse(&mut self, on: bool) -> io::Result<()> {
        if self.mouse == on {
            return Ok(());
        }
        self.mouse = on;
        let output = self.terminal.backend_mut();
        if on {
            output.write_all(MOUSE)?;
        } else {
            queue!(output, DisableMouseCapture)?;
        }
        io::Write::flush(output)
    }

    /// Copies text to the clipboard.
    ///
    /// # Errors
    /// The terminal's error.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let output = self.terminal.backend_mut();
        output.write_all(&osc::copy(text, Multiplexer::here()))?;
        io::Write::flush(output)
    }

    /// Sets the title of the window and the progress of its icon, if they changed; `None` restores the title.
    ///
    /// # Errors
    /// The terminal's error.
    pub(crate) fn set_title(&mut self, wanted: Option<(String, TaskbarProgress)>) -> io::Result<()> {
        if wanted == self.title || !has_titles() {
            return Ok(());
        }
        let shown = self.title.as_ref().map(|(title, progress)| (title.as_str(), *progress));
        let mut bytes = String::new();
        match &wanted {
            Some((title, progress)) => {
                if !TITLED.swap(true, Ordering::SeqCst) {
                    bytes.push_str(osc::PUSH_TITLE);
                }
                if shown.is_none_or(|(before, _)| before != title) {
                    bytes.push_str(&osc::title(title));
                }
                if shown.map_or(TaskbarProgress::Clear, |(_, before)| before) != *progress {
                    bytes.push_str(&osc::progress(*progress));
                }
            }
            None => bytes.push_str(&untitled()),
        }
        self.title = wanted;
        let output = self.terminal.backend_mut();
        output.write_all(bytes.as_bytes())?;
        io::Write::flush(output)
    }

    /// Announces the end of transfers: rings the bell and shows a desktop notification, as far as they are on.
    ///
    /// # Errors
    /// The terminal's error.
    pub(crate) fn announce(&mut self, text: &str, alerts: Alerts) -> io::Result<()> {
        let mut bytes = Vec::new();
        if alerts.notify && has_titles() {
            bytes.extend(osc::notification(text, NotificationForm::here(), Multiplexer::here()));
        }
        if alerts.bell {
            bytes.extend_from_slice(osc::BELL.as_bytes());
        }
        let output = self.terminal.backend_mut();
        output.write_all(&bytes)?;
        io::Write::flush(output)
    }

    /// Draws one frame, which the terminal shows atomically if it supports synchronized output.
    ///
    /// # Errors
    /// The terminal's error; what it shows is undefined then.
    pub fn draw(&mut self, paint: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        let area = area()?;
        if area != self.area {
            self.area = area;
            self.terminal.resize(area)?;
        }
        self.terminal.draw(|frame| paint(frame.area(), frame.buffer_mut()))?;
        queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        io::Write::flush(self.terminal.backend_mut())
    }

    /// Makes the next frame draw every cell. `Terminal::clear` would request the cursor position from the terminal, and
    /// the reply would go to the input thread; a resize to the same size requests nothing.
    ///
    /// # Errors
    /// The terminal's error.
    pub fn repaint(&mut self) -> io::Result<()> {
        self.terminal.resize(self.area)
    }
}

/// Returns whether the terminal has a window; the console of Linux has none.
fn has_titles() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "linux")
}

/// Returns the bytes that restore the title of the window and clear its progress, if they were set.
fn untitled() -> String {
    let set = TITLED.swap(false, Ordering::SeqCst);
    if set { osc::progress(TaskbarProgress::Clear) + osc::POP_TITLE } else { String::new() }
}

/// Returns the area of the terminal.
fn area() -> io::Result<Rect> {
    let (columns, rows) = crossterm::terminal::size()?;
    let variable = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    Ok(Rect::new(0, 0, known(columns, variable("COLUMNS"), 80), known(rows, variable("LINES"), 24)))
}

/// Returns a length in cells: that of the terminal, else that of the environment, else the default. A serial console,
/// or a pseudo terminal whose size was never set, has none.
fn known(terminal: u16, environment: Option<u16>, default: u16) -> u16 {
    [Some(terminal), environment].into_iter().flatten().find(|cells| *cells > 0).unwrap_or(default)
}

fn blank(area: Rect) -> io::Result<ratatui::Terminal<CrosstermBackend<FrameOutput>>> {
    // Fixed: else the library would repeatedly request the size, which the terminal may not have.
    let options = TerminalOptions { viewport: Viewport::Fixed(area) };
    ratatui::Terminal::with_options(CrosstermBackend::new(FrameOutput::default()), options)
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Returns whether the terminal is taken at this moment.
pub fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Marks the terminal as taken by another program: it is not drawn on, read from or restored until it is taken again.
pub fn set_lost() {
    TAKEN.store(false, Ordering::SeqCst);
}

/// Restores the terminal: once, from any thread, within bounded time; further calls do nothing.
pub fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // The mode first: setting it needs no room in the output queue of the terminal.
    let _ = disable_raw_mode();
    // Cancels a truncated sequence; else it has no effect.
    let mut bytes = vec![CANCEL];
    let _ = queue!(
        bytes,
        EndSynchronizedUpdate,
        style::ResetColor,
        DisableMouseCapture,
        DisableBracketedPaste,
        cursor::Show,
        LeaveAlternateScreen
    );
    bytes.extend_from_slice(untitled().as_bytes());
    // A terminal that accepts no bytes blocks this write behind that of the drawing thread: hence the timeout.
    let (done, wait) = sync_channel(1);
    let write = move || {
        let _ = rustix::io::write(stdout(), &bytes);
        let _ = done.send(());
    };
    let started = thread::Builder::new().name("restore".to_owned()).spawn(write).is_ok();
    if started && wait.recv_timeout(RESTORE_TIMEOUT).is_err() {
        // The terminal must not show a stale screen later: drop the output that it has not accepted by now, so that
        // there is room for the restoring sequences.
        drop_unread();
        let _ = wait.recv_timeout(RESTORE_TIMEOUT);
    }
}

/// Writes bytes to the restored terminal.
pub fn print_after(bytes: &[u8]) {
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::write(stdout(), left) {
            Ok(written) => left = &left[written..],
            Err(rustix::io::Errno::INTR) => {}
            // The terminal has hung up.
            Err(_) => return,
        }
    }
}

/// Drops output that the terminal has not accepted yet.
fn drop_unread() {
    let _ = tcflush(stdout(), QueueSelector::OFlush);
    // A blocked writer wakes up only at another event, such as setting the modes, here to the same.
    if let Ok(modes) = tcgetattr(stdout()) {
        let _ = tcsetattr(stdout(), OptionalActions::Now, &modes);
    }
}

/// Installs a panic hook that depends on the thread; must be called on the thread that will run the screen.
///
/// A panic there restores the terminal and is then reported as usual. A panic elsewhere while the screen is up does not
/// affect the screen: its text goes to `report`, for the log.
pub fn install_panic_hook(report: impl Fn(String) + Send + Sync + 'static) {
    let owner = thread::current().id();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if is_elsewhere(owner) && TAKEN.load(Ordering::SeqCst) {
            report(sentence(info));
        } else {
            restore();
            usual(info);
        }
    }));
}

fn is_elsewhere(owner: ThreadId) -> bool {
    thread::current().id() != owner
}

fn sentence(info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current().name().unwrap_or("without a name").to_owned();
    let place = info.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let reason = text.unwrap_or("unknown reason");
    format!("thread {thread} panicked{place}: {reason}")
}

/// Returns the descriptor for reading keys: standard input, or the controlling terminal if that is redirected.
///
/// # Errors
/// The system's error if there is no controlling terminal, or no free descriptor.
pub fn keyboard() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    if rustix::termios::isatty(&stdin) {
        // Close-on-exec: a started node that keeps running would otherwise keep the terminal open.
        return stdin.as_fd().try_clone_to_owned();
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open("/dev/tty", flags, Mode::empty())?)
}

/// Waits for the wanted events or a hangup of the terminal, and returns what occurred; nothing is read.
pub fn poll_events(fd: BorrowedFd<'_>, wanted: PollFlags, timeout: Duration) -> PollFlags {
    let mut fds = [PollFd::new(&fd, wanted)];
    let limit = Timespec::try_from(timeout).ok();
    match poll(&mut fds, limit.as_ref()) {
        Ok(0) | Err(_) => PollFlags::empty(),
        Ok(_) => fds[0].revents(),
    }
}

/// Returns whether the terminal has hung up.
pub fn is_hung_up(flags: PollFlags) -> bool {
    flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

fn stdout() -> BorrowedFd<'static> {
    rustix::stdio::stdout()
}

/// Buffers a frame and writes it as a whole; writes nothing once the terminal was restored.
#[derive(Default)]
pub struct FrameOutput {
    bytes: Vec<u8>,
}

impl Write for FrameOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut left = self.bytes.as_slice();
        while !left.is_empty() && TAKEN.load(Ordering::SeqCst) {
            match rustix::io::write(stdout(), left) {
                Ok(written) => left = &left[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error.into());
                }
            }
        }
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_sizes_come_from_the_environment() {
        assert_eq!(known(132, Some(60), 80), 132);
        assert_eq!(known(0, Some(60), 80), 60);
        assert_eq!((known(0, Some(0), 80), known(0, None, 24)), (80, 24));
    }
}
