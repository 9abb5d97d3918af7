//! Start screen, where there is no input file: recent chains to open, the demo, and how to write an input file.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::event::InputEvents;
use super::geometry::first_row;
use super::input::{Event, Gesture};
use super::paint::{Row, cut_middle, row_of};
use super::screen::{ScreenError, ScreenStop};
use super::suspend::{self, JobSignals};
use super::terminal::{self, Screen, is_taken};
use super::theme::{StyleRole, Theme};
use super::widgets::heading;
use super::{Options, Preferences};
use crate::text::SafeText;

/// Time after which a stop takes effect.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Rows above the list: header, a blank one, the question, its heading.
const ABOVE: u16 = 4;
/// How to write an input file.
const EXAMPLE: [&str; 6] = [
    "A text: first the file to fetch, then one hop per line;",
    "the last hop is the origin.",
    "    report.pdf",
    "    10.0.0.1 9101",
    "    10.0.1.7 9101",
    "",
];
/// Columns of the age of a recent chain.
const AGE: u16 = 12;

/// Input file that was opened before.
#[derive(Clone, Debug)]
pub struct StartEntry {
    /// Its path.
    pub path: SafeText,
    /// How long ago.
    pub age: String,
}

/// What the user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartChoice {
    /// The recent chain at this position.
    Chain(usize),
    /// The demo.
    Demo,
    /// To quit.
    Quit,
}

/// State of the start screen.
#[derive(Clone, Debug)]
pub struct StartState {
    theme: Theme,
    entries: Vec<StartEntry>,
    /// Selected row: a chain, or after them the demo.
    at: usize,
    /// Why the last choice could not be opened.
    notice: Option<String>,
    area: Rect,
}

impl StartState {
    /// Returns the state at the start.
    pub fn new(theme: Theme, entries: Vec<StartEntry>) -> Self {
        Self { theme, entries, at: 0, notice: None, area: Rect::default() }
    }

    /// Handles a key; returns a choice if it makes one.
    pub fn press(&mut self, key: KeyEvent) -> Option<StartChoice> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.notice = None;
        let last = self.entries.len();
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if ctrl => return Some(StartChoice::Quit),
            KeyCode::Char('q') | KeyCode::Esc => return Some(StartChoice::Quit),
            KeyCode::Char('d') => return Some(StartChoice::Demo),
            KeyCode::Enter => return Some(self.choice(self.at)),
            KeyCode::Char('j') | KeyCode::Down => self.at = (self.at + 1).min(last),
            KeyCode::Char('k') | KeyCode::Up => self.at = self.at.saturating_sub(1),
            KeyCode::Char('g') | KeyCode::Home => self.at = 0,
            KeyCode::Char('G') | KeyCode::End => self.at = last,
            KeyCode::Char(digit @ '1'..='9') => {
                let at = digit as usize - '1' as usize;
                return (at < last).then_some(StartChoice::Chain(at));
            }
            _ => self.notice = Some("enter opens the selected line, q quits".to_owned()),
        }
        None
    }

    /// Handles a mouse gesture: the wheel moves, a click selects, a click on the selected line opens it.
    pub fn gesture(&mut self, gesture: Gesture, column: u16, row: u16) -> Option<StartChoice> {
        let last = self.entries.len();
        match gesture {
            Gesture::WheelUp => self.at = self.at.saturating_sub(1),
            Gesture::WheelDown => self.at = (self.at + 1).min(last),
            Gesture::Click => {
                let list = self.list();
                let line = usize::from(row.saturating_sub(list.y)) + first_row(list, self.at);
                if list.contains(Position { x: column, y: row }) && line <= last {
                    if line == self.at {
                        return Some(self.choice(line));
                    }
                    self.at = line;
                }
            }
        }
        None
    }

    /// Draws the screen.
    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer) {
        self.area = area;
        let theme = &self.theme;
        buffer.set_style(area, theme.base());
        let (plain, dim, key) =
            (theme.style(StyleRole::Plain), theme.style(StyleRole::Dim), theme.style(StyleRole::Key));
        Row::new(buffer, row_of(area, 0)).skip(1).put("chainview", theme.style(StyleRole::Title));
        let list = self.list();
        if area.height > ABOVE + 2 {
            let text =
                "There is no input.txt in this folder. Open a recent chain, watch the demo, or write an input file.";
            let short = "no input.txt here: open a recent chain or the demo";
            let text = if area.width < 100 { short } else { text };
            Row::new(buffer, row_of(area, 2)).skip(1).put(text, plain);
            let heading_row = row_of(area, usize::from(ABOVE) - 1);
            let none = if self.entries.is_empty() { "none yet" } else { "" };
            heading::draw(theme, "Recent chains", none, true, heading_row, buffer);
        }
        let first = first_row(list, self.at);
        for at in (first..=self.entries.len()).take(usize::from(list.height)) {
            let line = row_of(list, at - first);
            heading::selection(theme, (at == self.at).then_some(true), line, buffer);
            let mut row = Row::new(buffer, line);
            row.skip(2);
            match self.entries.get(at) {
                Some(entry) => {
                    let digit = if at < 9 { (at + 1).to_string() } else { String::new() };
                    row.cell(3, &digit, key).put_right(&format!("{:>1$} ", entry.age, usize::from(AGE)), dim);
                    let room = row.room();
                    row.put(&cut_middle(entry.path.as_str(), room), plain);
                }
                None => {
                    row.cell(3, "d", key).put("the demo: a chain on this machine, with bottlenecks to find", plain);
                }
            }
        }
        let below = Rect { y: list.bottom(), height: area.bottom().saturating_sub(list.bottom() + 1), ..area };
        if usize::from(below.height) > EXAMPLE.len() {
            heading::draw(theme, "Input file", "", false, row_of(below, 1), buffer);
            for (at, line) in EXAMPLE.iter().enumerate().take(usize::from(below.height) - 2) {
                Row::new(buffer, row_of(below, at + 2)).skip(2).put(line, plain);
            }
            if usize::from(below.height) > EXAMPLE.len() + 2 {
                let row = row_of(below, EXAMPLE.len() + 2);
                Row::new(buffer, row).skip(2).put("chainview FILE opens it; docs/input-file.md has more.", plain);
            }
        }
        self.draw_footer(Rect { y: area.bottom().saturating_sub(1), height: 1, ..area }, buffer);
    }

    fn draw_footer(&self, area: Rect, buffer: &mut Buffer) {
        let theme = &self.theme;
        let mut row = Row::new(buffer, area);
        row.skip(1);
        if let Some(notice) = &self.notice {
            row.put(notice, theme.style(StyleRole::Warn));
            return;
        }
        for (key, label) in [("j", "select"), ("enter", "open"), ("d", "demo"), ("q", "quit")] {
            row.put(key, theme.style(StyleRole::Key)).skip(1).put(label, theme.style(StyleRole::Dim)).skip(2);
        }
    }

    /// Returns the rows of the list: all of it where the screen has room, else as many as fit.
    fn list(&self) -> Rect {
        let area = self.area;
        let above = if area.height > ABOVE + 2 { ABOVE } else { 1 };
        let rows = u16::try_from(self.entries.len() + 1).unwrap_or(u16::MAX);
        let height = rows.min(area.height.saturating_sub(above + 1));
        Rect { y: area.y + above.min(area.height), height, ..area }
    }

    fn choice(&self, at: usize) -> StartChoice {
        if at < self.entries.len() { StartChoice::Chain(at) } else { StartChoice::Demo }
    }
}

/// Shows the start screen until `open` accepts a choice of the user; it returns why it does not. Returns `None` if
/// `stop` is set or the terminal hangs up. The terminal is restored before this returns.
///
/// # Errors
/// As for [`super::run`].
pub fn choose<T>(
    options: &Options,
    mut state: StartState,
    stop: &ScreenStop,
    mut open: impl FnMut(StartChoice) -> Result<T, String>,
) -> Result<Option<T>, ScreenError> {
    let jobs = JobSignals::register(options.no_suspend).map_err(ScreenError::NoTerminal)?;
    let mut screen = Screen::new().map_err(ScreenError::NoTerminal)?;
    let events = InputEvents::listen().map_err(ScreenError::NoTerminal)?;
    let Preferences { mouse, .. } = options.preferences;
    let mut dirty = true;
    loop {
        if stop.is_set() {
            return Ok(None);
        }
        if jobs.stop_requested() && !suspend::stop() {
            state.notice = Some("not suspended: no shell could resume it".to_owned());
            dirty = true;
        }
        if jobs.continued() {
            terminal::set_lost();
        }
        if !is_taken() && suspend::is_foreground() {
            screen.take().map_err(ScreenError::Draw)?;
            screen.report_mouse(mouse.unwrap_or(options.mouse)).map_err(ScreenError::Draw)?;
            dirty = true;
        }
        if dirty && is_taken() {
            screen.draw(|area, buffer| state.draw(area, buffer)).map_err(ScreenError::Draw)?;
            dirty = false;
        }
        let choice = match events.queue.recv_timeout(POLL_INTERVAL) {
            Ok(Event::Key(key)) => state.press(key),
            Ok(Event::Mouse(gesture, column, row)) => state.gesture(gesture, column, row),
            Ok(Event::Paste(_) | Event::Resize) => None,
            Ok(Event::HungUp) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => continue,
        };
        dirty = true;
        match choice.map(&mut open) {
            Some(Ok(opened)) => return Ok(Some(opened)),
            Some(Err(why)) => state.notice = Some(why),
            None => {}
        }
    }
}
