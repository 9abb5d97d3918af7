//! Detailed chain line: every hop and the rate of every link, at four levels of detail.

use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot};
use crate::ui::columns::dash;
use crate::ui::fill::buffered;
use crate::ui::finding::Place;
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;
use crate::units::Rate;

/// Level of detail; the first that fits is used, and a folded chain where none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Long links, names.
    Full,
    /// Short links, names.
    Names,
    /// Short links, the name of the cause only.
    CauseName,
    /// Short links, numbers.
    Numbers,
}

/// Maximum width of a hop's name in this line.
const NAME: usize = 16;
/// Width of a rate: does not change with its value, so that nothing moves.
const RATE: usize = 10;

/// Part of the line in one style.
pub(super) struct Span {
    pub text: String,
    pub role: StyleRole,
    /// The hop that a click selects.
    pub hop: Option<usize>,
}

pub(super) fn span(text: impl Into<String>, role: StyleRole) -> Span {
    Span { text: text.into(), role, hop: None }
}

impl Span {
    /// Returns the same for a stage; the client is no hop.
    pub(super) fn of(self, stage: usize) -> Self {
        Self { hop: Some(stage).filter(|stage| *stage > 0), ..self }
    }
}

/// What the line is drawn from.
pub(super) struct Line<'a> {
    pub state: &'a UiState,
    pub data: &'a ChainSnapshot,
    pub hops: Vec<&'a HopSnapshot>,
    pub place: Option<Place>,
    pub cause: String,
}

impl Line<'_> {
    /// Returns the whole line.
    pub(super) fn spans(&self, detail: Detail) -> Vec<Span> {
        let mut spans = Vec::new();
        let client = if matches!(detail, Detail::Full | Detail::Names) { "client" } else { "c" };
        self.stage(0, client.to_owned(), StyleRole::Title, &mut spans);
        for hop in &self.hops {
            spans.push(span(" ", StyleRole::Plain));
            self.link(hop.number, detail, &mut spans);
            spans.push(span(" ", StyleRole::Plain));
            let is_named = match detail {
                Detail::Full | Detail::Names => true,
                Detail::CauseName => self.is_cause(hop.number),
                Detail::Numbers => false,
            };
            let name = if is_named { format!("{} {}", hop.number, short_name(hop)) } else { hop.number.to_string() };
            let is_down = matches!(hop.link, HopLink::Down { .. });
            let role = if is_down { StyleRole::Bad } else { StyleRole::Title };
            // The cause states itself that it is down.
            let name = if is_down && !self.is_cause(hop.number) { format!("{name} down") } else { name };
            self.stage(hop.number, name, role, &mut spans);
        }
        spans
    }

    pub(super) fn is_cause(&self, stage: usize) -> bool {
        self.place == Some(Place::Stage(stage))
    }

    /// Adds a stage with its buffered bytes as one column; in brackets with its cause, if it is that of the headline.
    fn stage(&self, stage: usize, name: String, role: StyleRole, spans: &mut Vec<Span>) {
        let bars = &self.state.theme.glyphs.bars;
        let scale = self.state.history().scale;
        let height = buffered(self.data, stage).map_or(0, |buffered| scale.parts(buffered, bars.len()));
        let fill = span(height.checked_sub(1).map_or(" ", |at| bars[at]), StyleRole::Flow);
        if !self.is_cause(stage) {
            spans.extend([span(name, role).of(stage), fill.of(stage)]);
            return;
        }
        let cause = if height == 0 { format!("{}]", self.cause) } else { format!(" {}]", self.cause) };
        let parts = [span(format!("[{name}"), StyleRole::Cause), fill, span(cause, StyleRole::Cause)];
        spans.extend(parts.map(|part| part.of(stage)));
    }

    /// Adds the link from a hop to the stage before it; with the cause of the headline, if it is that of this link.
    fn link(&self, from: usize, detail: Detail, spans: &mut Vec<Span>) {
        let g = &self.state.theme.glyphs;
        let rate = self.rate(from);
        let flows = rate.is_some_and(|rate| rate > 0);
        let is_cause = matches!(self.place, Some(Place::Link { from: far, to }) if (to + 1..=far).contains(&from));
        let role = match flows {
            _ if is_cause => StyleRole::Cause,
            true => StyleRole::Flow,
            false => StyleRole::Dim,
        };
        let line = if flows && !is_cause { g.line } else { g.idle };
        let figure =
            rate.map_or_else(|| "?".to_owned(), |rate| if rate == 0 { dash() } else { Rate(rate).to_string() });
        let figure = format!("{figure:>RATE$}");
        let figure = if is_cause { format!("[{} {}]", figure.trim_start(), self.cause) } else { figure };
        let first = if self.data.is_encrypted(from) { g.lock } else { line };
        let text = match detail {
            Detail::Full => format!("{}{first}{line} {figure} {}", g.arrow, line.repeat(2)),
            _ => format!("{}{first}{figure}{line}", g.arrow),
        };
        spans.push(span(text, role));
    }

    /// Returns the bytes per second from a hop to the stage before it, preferably as the receiver counts.
    fn rate(&self, from: usize) -> Option<u64> {
        let reporting = |number: usize| {
            let hop = self.hops.iter().find(|hop| hop.number == number)?;
            (hop.node.is_some() && hop.link.is_up()).then_some(hop)
        };
        if from <= 1 {
            return Some(self.state.history().client_rate(self.data));
        }
        reporting(from - 1).map(|hop| hop.rate_in).or_else(|| reporting(from).map(|hop| hop.rate_out))
    }
}

/// Returns a short name of a hop: its label, `origin`, its port on this machine, or its host.
pub(super) fn short_name(hop: &HopSnapshot) -> String {
    if hop.label != hop.address && !hop.label.as_str().is_empty() {
        return hop.label.as_str().chars().take(NAME).collect();
    }
    if hop.origin {
        return "origin".to_owned();
    }
    let address = hop.address.as_str();
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    if host.starts_with("127.") || host == "localhost" || host == "[::1]" {
        return format!(":{port}");
    }
    host.chars().take(NAME).collect()
}
