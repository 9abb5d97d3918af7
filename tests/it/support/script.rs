//! Plays keys to the screen without a terminal: a key string in, a screen and commands out.

use std::sync::Arc;
use std::time::Duration;

use chainview::command::Command;
use chainview::options::ColorScheme;
use chainview::snapshot::{ChainSnapshot, ConnSnapshot, ConnState, Phase};
use chainview::ui::input::Gesture;
use chainview::ui::mouse;
use chainview::ui::{Keymap, Theme, UiState, dispatch, view};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;

/// A screen of one size, over one snapshot at a time.
pub(crate) struct Script {
    pub(crate) state: UiState,
    pub(crate) chain: ChainSnapshot,
    pub(crate) sent: Vec<Command>,
    terminal: Terminal<TestBackend>,
}

impl Script {
    pub(crate) fn new(columns: u16, rows: u16, chain: ChainSnapshot) -> Self {
        let terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        let mut state = UiState::new(Theme::default(), Keymap::default());
        state.area = Rect::new(0, 0, columns, rows);
        state.observe(&chain);
        Self { state, chain, sent: Vec::new(), terminal }
    }

    pub(crate) fn themed(mut self, ascii: bool, colors: ColorScheme) -> Self {
        self.state.theme = Theme::new(ascii, colors);
        self
    }

    /// Applies the next snapshot.
    pub(crate) fn see(&mut self, chain: ChainSnapshot) {
        self.state.observe(&chain);
        self.chain = chain;
    }

    /// Shows the snapshot for a minute before, so that the histories are full.
    pub(crate) fn watched(mut self) -> Self {
        for quarter in 1..=240 {
            self.state.now = Duration::from_millis(quarter * 250);
            self.chain.generation += 1;
            move_on(&mut self.chain);
            self.state.observe(&self.chain);
        }
        self
    }

    /// Presses keys, which are separated by blanks: `j`, `<enter>`, `<esc>`, `<tab>`, `<space>`, `<c-l>`.
    pub(crate) fn keys(&mut self, keys: &str) -> &mut Self {
        for name in keys.split_ascii_whitespace() {
            let chain = self.shown();
            self.sent.extend(dispatch::press(&mut self.state, &chain, key(name)));
            if self.state.take_screenshot() {
                self.sent.push(Command::SaveScreen(view::screenshot(&self.state, &chain)));
            }
        }
        self
    }

    /// Applies a mouse event at a column and a row.
    pub(crate) fn mouse(&mut self, gesture: Gesture, column: u16, row: u16) -> &mut Self {
        let chain = self.shown();
        self.sent.extend(mouse::gesture(&mut self.state, &chain, gesture, column, row));
        self
    }

    fn shown(&self) -> Arc<ChainSnapshot> {
        self.state.shown(&Arc::new(self.chain.clone()))
    }

    /// The current content of the screen.
    pub(crate) fn buffer(&mut self) -> Buffer {
        let chain = self.shown();
        self.state.settle(&chain);
        view::limit_scroll(&mut self.state, &chain);
        let state = &self.state;
        self.terminal.draw(|frame| view::draw(state, &chain, frame.area(), frame.buffer_mut())).unwrap();
        self.terminal.backend().buffer().clone()
    }

    /// The screen as text, without the blanks at the ends of its lines.
    pub(crate) fn screen(&mut self) -> String {
        let buffer = self.buffer();
        let rows = buffer.content().chunks(usize::from(buffer.area.width.max(1)));
        rows.map(|row| row.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned() + "\n").collect()
    }
}

/// Adds what moves in a quarter of a second to the counters of connections and transfers.
fn move_on(chain: &mut ChainSnapshot) {
    for hop in &mut chain.hops {
        let Some(node) = &mut hop.node else { continue };
        node.uptime_us += 250_000;
        let streaming = |conn: &&mut ConnSnapshot| conn.state == ConnState::Streaming;
        let share = hop.rate_out / 4 / node.connections.iter_mut().filter(streaming).count().max(1) as u64;
        for conn in node.connections.iter_mut().filter(streaming) {
            (conn.flow.bytes_in, conn.flow.bytes_out) = (conn.flow.bytes_in + share, conn.flow.bytes_out + share);
        }
    }
    for transfer in chain.transfers.iter_mut().filter(|t| t.phase == Phase::Streaming) {
        transfer.flow.active_us += 250_000;
        transfer.flow.starved_us += 230_000;
    }
}

/// Sizes at which every screen must hold: a common terminal, the smallest classic one, half of that, a wide one.
pub(crate) const SIZES: [(u16, u16); 4] = [(120, 40), (80, 24), (60, 15), (200, 60)];

/// Plays one snapshot at all sizes, with and without color.
pub(crate) fn on_every_screen(chain: &ChainSnapshot, mut check: impl FnMut(&mut Script)) {
    for (columns, rows) in SIZES {
        for colors in [ColorScheme::Terminal, ColorScheme::Mono] {
            check(&mut Script::new(columns, rows, chain.clone()).themed(false, colors));
        }
    }
}

/// A hash of all colors and weights of a screen: a different value means that something looks different.
pub(crate) fn styles(buffer: &Buffer) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for cell in buffer.content() {
        for byte in format!("{:?}{:?}{:?}", cell.fg, cell.bg, cell.modifier).bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

pub(crate) fn key(name: &str) -> KeyEvent {
    let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
    match name {
        "<enter>" => plain(KeyCode::Enter),
        "<esc>" => plain(KeyCode::Esc),
        "<tab>" => plain(KeyCode::Tab),
        "<space>" => plain(KeyCode::Char(' ')),
        "<up>" => plain(KeyCode::Up),
        "<down>" => plain(KeyCode::Down),
        "<left>" => plain(KeyCode::Left),
        "<right>" => plain(KeyCode::Right),
        "<home>" => plain(KeyCode::Home),
        "<end>" => plain(KeyCode::End),
        "<bs>" => plain(KeyCode::Backspace),
        "<del>" => plain(KeyCode::Delete),
        "<ins>" => plain(KeyCode::Insert),
        "<pgdn>" => plain(KeyCode::PageDown),
        "<pgup>" => plain(KeyCode::PageUp),
        "<s-tab>" => KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT),
        "<f1>" => plain(KeyCode::F(1)),
        name => match (name.strip_prefix("<c-"), name.chars().next()) {
            (Some(rest), _) => {
                KeyEvent::new(KeyCode::Char(rest.chars().next().expect("a letter follows <c-")), KeyModifiers::CONTROL)
            }
            (None, Some(c)) if name.chars().count() == 1 => plain(KeyCode::Char(c)),
            _ => panic!("{name:?} is no key of this script"),
        },
    }
}
