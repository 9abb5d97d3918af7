//! One frame of the dashboard, from its data to the bytes for the terminal: five hops, a thousand connections, figures
//! that changed since the frame before. Also the cost of a change of the data with five thousand of them, sorted and
//! filtered.
#![allow(clippy::unwrap_used, reason = "a benchmark stops where something is not as it should be")]

use std::io;
use std::time::{Duration, Instant};

use chainview::snapshot::{
    ChainSnapshot, ConnSnapshot, ConnState, Flow, HopLink, HopSnapshot, NodeSnapshot, Phase, RATE_SAMPLES,
    TransferSnapshot,
};
use chainview::ui::action::{Action, ViewAction};
use chainview::ui::{Keymap, Theme, UiState, view};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use divan::Bencher;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

/// Frames from which the percentiles are computed.
const FRAMES: usize = 2000;

fn main() {
    divan::main();
    for size in [(120, 40), (200, 60)] {
        let mut screen = Screen::new(size, 1000);
        let mut times: Vec<Duration> = (0..FRAMES)
            .map(|_| {
                let began = Instant::now();
                screen.frame();
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!("{}x{}: p50 {:?}, p99 {:?}", size.0, size.1, times[FRAMES / 2], times[FRAMES * 99 / 100]);
    }
}

/// View, difference and encoding.
#[divan::bench(args = [(120, 40), (200, 60)])]
fn frame(bencher: Bencher<'_, '_>, size: (u16, u16)) {
    let mut screen = Screen::new(size, 1000);
    bencher.bench_local(|| screen.frame());
}

/// Rates, filter and sort, as once for each new snapshot.
#[divan::bench(args = [1000, 5000])]
fn change(bencher: Bencher<'_, '_>, conns: usize) {
    let mut screen = Screen::new((120, 40), conns);
    screen.state.apply(Action::View(ViewAction::Show(chainview::ui::focus::Tab::Connections)), &screen.chains[0]);
    screen.state.sort_by(Some(9));
    for key in "/10.0.".chars().map(KeyCode::Char).chain([KeyCode::Enter]) {
        let key = KeyEvent::new(key, KeyModifiers::NONE);
        chainview::ui::dispatch::press(&mut screen.state, &screen.chains[0], key);
    }
    bencher.bench_local(|| screen.next());
}

/// A screen whose bytes are discarded, over two alternating snapshots.
struct Screen {
    state: UiState,
    chains: [ChainSnapshot; 2],
    turn: usize,
    area: Rect,
    terminal: Terminal<CrosstermBackend<io::Sink>>,
}

impl Screen {
    fn new(size: (u16, u16), conns: usize) -> Self {
        let area = Rect::new(0, 0, size.0, size.1);
        let options = TerminalOptions { viewport: Viewport::Fixed(area) };
        let terminal = Terminal::with_options(CrosstermBackend::new(io::sink()), options).unwrap();
        let mut state = UiState::new(Theme::default(), Keymap::default());
        state.area = area;
        let chains = [chain(1, conns), chain(2, conns)];
        state.observe(&chains[0]);
        Self { state, chains, turn: 0, area, terminal }
    }

    fn next(&mut self) {
        self.turn ^= 1;
        self.state.now += Duration::from_millis(100);
        self.state.observe(&self.chains[self.turn]);
    }

    fn frame(&mut self) {
        self.turn ^= 1;
        let (state, chain, area) = (&self.state, &self.chains[self.turn], self.area);
        self.terminal.draw(|frame| view::draw(state, chain, area, frame.buffer_mut())).unwrap();
    }
}

fn chain(generation: u64, conns: usize) -> ChainSnapshot {
    let hop = |number: usize| HopSnapshot {
        number,
        address: format!("127.0.0.1:{}", 7000 + number).into(),
        label: format!("127.0.0.1:{}", 7000 + number).into(),
        origin: number == 5,
        link: HopLink::Spawned { pid: 800 },
        ours: true,
        node: Some(node(generation, number, conns / 5)),
        rate_in: 40_000_000 + generation * 100_000,
        rate_out: 41_000_000 + generation * 100_000,
        history: (0..RATE_SAMPLES as u64).map(|i| 20_000_000 + (i + generation) % 60 * 350_000).collect(),
        starved_share: Some(0.1 * generation as f64),
        ..HopSnapshot::default()
    };
    let transfer = |number: u64| TransferSnapshot {
        number,
        name: "assets/sample.bin".into(),
        phase: Phase::Streaming,
        size: Some(2_730_000_000),
        received: 1_000_000_000 + generation * 4_000_000,
        rate: 41_000_000 + generation * 10_000,
        ..TransferSnapshot::default()
    };
    ChainSnapshot {
        generation,
        hops: (1..=5).map(hop).collect(),
        transfers: (1..=8).map(transfer).collect(),
        ..ChainSnapshot::default()
    }
}

fn node(generation: u64, hop: usize, conns: usize) -> NodeSnapshot {
    let conn = |id: u64| ConnSnapshot {
        id,
        state: ConnState::Streaming,
        peer: format!("10.0.{}.{}:51812", id / 250, id % 250).into(),
        upstream: format!("127.0.0.1:{}", 7001 + hop).into(),
        transfer: format!("{id:08x}").into(),
        name: "assets/sample.bin".into(),
        age_ms: id * 1000,
        flow: Flow { bytes_out: generation * 4_000_000 + id * 77 % 1009, ..Flow::default() },
        ..ConnSnapshot::default()
    };
    let connections = (0..conns as u64).map(conn).collect();
    NodeSnapshot { uptime_us: generation * 1_000_000, connections, ..NodeSnapshot::default() }
}
