//! Evidence of every stage: how it spent its time, and what the kernel and the processor report.

use super::line::{Span, WhyLine, paragraph, span};
use crate::snapshot::{ChainSnapshot, Flow, HopSnapshot};
use crate::ui::columns::{dash, ms};
use crate::ui::evidence::Counters;
use crate::ui::finding::{Finding, Place};
use crate::ui::grid::{Column, ColumnPlaces, fixed, growing, place};
use crate::ui::history::History;
use crate::ui::paint::{cut_middle, width};
use crate::ui::theme::{StyleRole, Theme};
use crate::ui::time_shares::TimeShares;
use crate::units::Count;

/// Columns of the evidence; the last ones are dropped first.
const COLUMNS: [Column; 12] = [
    fixed("#", 2, true, 0),
    growing("Stage", 6, 24, 0),
    fixed("starved", 7, true, 0),
    fixed("blocked", 7, true, 0),
    fixed("limited", 7, true, 0),
    fixed("busy", 4, true, 0),
    fixed("CPU", 4, true, 1),
    fixed("Rexmit", 6, true, 2),
    fixed("RTT", 4, true, 3),
    fixed("window", 6, true, 4),
    fixed("buffer", 6, true, 5),
    fixed("delay", 5, true, 6),
];
/// Columns between two columns.
const GAP: u16 = 2;
/// Meaning of the columns.
const LEGEND: [(&str, &str); 9] = [
    ("starved", "waiting for input"),
    ("blocked", "waiting to send"),
    ("limited", "waiting for its own rate limit"),
    ("CPU", "CPU time of the thread that moves the bodies"),
    ("Rexmit", "segments retransmitted in the last 2 s"),
    ("RTT", "round trip in ms"),
    ("window", "sending time in which the receiver's window was full"),
    ("buffer", "the same for the send buffer"),
    ("delay", "time in which the thread was not scheduled"),
];

/// Widest bar, and the narrowest that shows shares.
const BAR: (u16, u16) = (16, 6);

/// Returns the meaning of the columns of a table of this width.
pub(super) fn legend(room: u16) -> Vec<WhyLine> {
    let places = place(&COLUMNS, 0, room);
    let is_shown = |title: &str| COLUMNS.iter().zip(&places).any(|(column, at)| column.title == title && at.is_some());
    let shown = LEGEND.iter().filter(|(title, _)| is_shown(title));
    let text = shown.map(|(title, meaning)| format!("{title}: {meaning}")).collect::<Vec<_>>().join("; ");
    let mut all = Vec::new();
    paragraph(&mut all, "", &text, StyleRole::Dim, room);
    all
}

/// Returns the table with its heading.
pub(super) fn lines(
    chain: &ChainSnapshot,
    history: &History,
    theme: &Theme,
    finding: &Finding,
    room: u16,
) -> Vec<WhyLine> {
    let places = place(&COLUMNS, 0, room);
    let finished = match finding {
        Finding::Finished { number } | Finding::Failed { number, .. } => chain.transfer(*number),
        _ => None,
    };
    let what = match finished {
        Some(t) => format!("Evidence of #{}, over the whole transfer", t.number),
        None => "Evidence of the last second, as shares of the time".to_owned(),
    };
    let mut all = vec![vec![span(what, StyleRole::Title)]];
    let titles = COLUMNS.map(|column| column.title.to_owned());
    all.push(row(&places, &titles, StyleRole::Dim, Vec::new()));
    let cause = |stage: usize| match finding.place() {
        Some(Place::Stage(place)) => place == stage,
        Some(Place::Link { from, to }) => (to..=from).contains(&stage),
        None => false,
    };
    let client = finished.map_or_else(|| history.client_flow(), |t| Some(t.flow));
    all.push(row(&places, &client_texts(client), role(cause(0)), bar(client.and_then(of_flow), theme, &places, room)));
    for (at, hop) in chain.route_hops().enumerate() {
        let record = finished.and_then(|t| *t.hop_records.get(at)?).map(|record| record.flow);
        let shares = match finished {
            Some(_) => record.and_then(of_flow),
            None => TimeShares::of(hop.starved_share, hop.blocked_share, hop.limited_share),
        };
        let recent = history.evidence.of(chain, hop).filter(|_| finished.is_none());
        all.push(row(
            &places,
            &hop_texts(hop, shares, recent),
            role(cause(hop.number)),
            bar(shares, theme, &places, room),
        ));
    }
    all
}

fn role(is_cause: bool) -> StyleRole {
    if is_cause { StyleRole::Cause } else { StyleRole::Plain }
}

/// Returns the shares of a whole body.
fn of_flow(flow: Flow) -> Option<TimeShares> {
    let share = |us: u64| (flow.active_us > 0).then(|| us as f64 / flow.active_us as f64);
    TimeShares::of(share(flow.starved_us), share(flow.blocked_us), share(flow.limited_us))
}

fn client_texts(flow: Option<Flow>) -> [String; 12] {
    let shares = shares_texts(flow.and_then(of_flow));
    let delay = flow.map_or_else(dash, |flow| percent(flow.sched_delay_us, flow.active_us));
    texts(
        "c".to_owned(),
        "client".to_owned(),
        shares,
        std::array::from_fn(|at| if at == 5 { delay.clone() } else { dash() }),
    )
}

fn hop_texts(hop: &HopSnapshot, shares: Option<TimeShares>, recent: Option<Counters>) -> [String; 12] {
    let name = if hop.origin && hop.label == hop.address { "origin".to_owned() } else { hop.label.to_string() };
    let figures = recent.map_or_else(
        || std::array::from_fn(|_| dash()),
        |Counters { span_us, tcp, load }| {
            [
                load.map_or_else(dash, |load| percent(load.busy_us, span_us)),
                Count(tcp.retransmits).to_string(),
                if tcp.rtt_us > 0 { ms(tcp.rtt_us) } else { dash() },
                percent(tcp.receiver_limited_us, tcp.busy_us),
                percent(tcp.buffer_limited_us, tcp.busy_us),
                load.map_or_else(dash, |load| percent(load.run_delay_us.max(load.sched_delay_us), span_us)),
            ]
        },
    );
    texts(hop.number.to_string(), name, shares_texts(shares), figures)
}

fn texts(number: String, name: String, shares: [String; 4], figures: [String; 6]) -> [String; 12] {
    let [starved, blocked, limited, busy] = shares;
    let [cpu, rexmit, rtt, window, buffer, delay] = figures;
    [number, name, starved, blocked, limited, busy, cpu, rexmit, rtt, window, buffer, delay]
}

fn shares_texts(shares: Option<TimeShares>) -> [String; 4] {
    shares.map_or_else(
        || std::array::from_fn(|_| dash()),
        |shares| shares.all().map(|share| format!("{:.0}%", share * 100.0)),
    )
}

/// Formats a part as a percentage; a dash where the whole is unknown.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { dash() } else { format!("{:.0}%", (part as f64 / whole as f64 * 100.0).min(100.0)) }
}

/// Returns the stacked bar of a stage in what is left beside its figures; none where that is too narrow.
fn bar(shares: Option<TimeShares>, theme: &Theme, places: &ColumnPlaces, room: u16) -> Vec<Span> {
    let end = places.iter().flatten().map(|(x, columns)| x + columns + GAP).max().unwrap_or(0);
    let columns = room.saturating_sub(end).min(BAR.0);
    let Some(shares) = shares.filter(|_| columns >= BAR.1) else { return Vec::new() };
    let parts = TimeShares::segments(theme).into_iter().zip(shares.columns(columns));
    parts.map(|((glyph, role, _), columns)| span(glyph.repeat(usize::from(columns)), role)).collect()
}

/// Returns one row of the table, and a bar after its last column.
fn row(places: &ColumnPlaces, texts: &[String; 12], role: StyleRole, bar: Vec<Span>) -> WhyLine {
    let mut line = String::new();
    for ((column, place), text) in COLUMNS.iter().zip(places).zip(texts) {
        let Some((x, columns)) = place else { continue };
        let text = cut_middle(text, *columns);
        let spare = usize::from(columns.saturating_sub(width(&text)));
        line.push_str(&" ".repeat(usize::from(x.saturating_sub(width(&line)))));
        let before = if column.right { spare } else { 0 };
        line.push_str(&" ".repeat(before));
        line.push_str(&text);
        line.push_str(&" ".repeat(spare - before));
    }
    line.push_str(&" ".repeat(usize::from(GAP)));
    [span(line, role)].into_iter().chain(bar).collect()
}
