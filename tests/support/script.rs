//! Plays keys to the screen without a terminal: a key string in, a picture and commands out.

use chainview::command::Command;
use chainview::snapshot::ChainSnapshot;
use chainview::ui::{Theme, UiState, keymap, view};
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
        let mut state = UiState::new(Theme::new(false, true));
        state.observe(&chain);
        state.area = Rect::new(0, 0, columns, rows);
        Self { state, chain, sent: Vec::new(), terminal }
    }

    pub(crate) fn themed(mut self, ascii: bool, color: bool) -> Self {
        self.state.theme = Theme::new(ascii, color);
        self
    }

    /// The next snapshot arrives.
    pub(crate) fn see(&mut self, chain: ChainSnapshot) {
        self.state.observe(&chain);
        self.chain = chain;
    }

    /// Presses keys, which are separated by blanks: `j`, `<enter>`, `<esc>`, `<tab>`, `<space>`, `<c-l>`.
    pub(crate) fn keys(&mut self, keys: &str) -> &mut Self {
        for name in keys.split_ascii_whitespace() {
            self.sent.extend(keymap::press(&mut self.state, &self.chain, key(name)));
        }
        self
    }

    /// What stands on the screen now.
    pub(crate) fn buffer(&mut self) -> Buffer {
        let (state, chain) = (&self.state, &self.chain);
        self.terminal.draw(|frame| view::draw(state, chain, frame.area(), frame.buffer_mut())).unwrap();
        self.terminal.backend().buffer().clone()
    }

    /// The screen as text, without the blanks at the ends of its lines.
    pub(crate) fn screen(&mut self) -> String {
        let buffer = self.buffer();
        let rows = buffer.content().chunks(usize::from(buffer.area.width.max(1)));
        rows.map(|row| row.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned() + "\n").collect()
    }
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
