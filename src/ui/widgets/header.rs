//! The first row: the program, its source, whether the figures are live, how many hops are up, what is active.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::{ChainSnapshot, HopSnapshot};
use crate::ui::paint::Row;
use crate::ui::state::UiState;
use crate::ui::theme::Tone;

/// A report older than this is no longer live: nodes send four a second.
pub const STALE: Duration = Duration::from_millis(1500);

/// Draws the header.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let up = data.hops.iter().filter(|hop| hop.link.is_up()).count();
    let active = data.transfers.iter().filter(|t| !t.phase.is_over()).count();
    let (word, tone) = liveness(data);
    let all_up = if up == data.hops.len() { Tone::Good } else { Tone::Bad };
    let gap = if area.width < 72 { 2 } else { 3 };

    let mut row = Row::new(buffer, area);
    row.skip(1).put("chainview", theme.style(Tone::Title)).skip(gap);
    let active_tone = if active == 0 { Tone::Dim } else { Tone::Flow };
    row.put_right(" ", theme.style(Tone::Plain));
    row.put_right(&format!("{active} active"), theme.style(active_tone))
        .put_right(&spaces(gap), theme.style(Tone::Plain));
    row.put_right(&format!("{up}/{} up", data.hops.len()), theme.style(all_up));
    row.put_right(&spaces(gap), theme.style(Tone::Plain)).put_right(&word, theme.style(tone));
    row.put_right(&spaces(gap), theme.style(Tone::Plain));
    row.put(data.source.as_str(), theme.style(Tone::Plain));
}

/// Whether what is shown is what is: the word for it, and how it looks.
pub fn liveness(data: &ChainSnapshot) -> (String, Tone) {
    if data.leaving {
        return ("LEAVING".to_owned(), Tone::Warn);
    }
    let reporting = || data.hops.iter().filter(|hop| hop.node.is_some() && hop.link.is_up());
    match reporting().map(|hop| hop.age).max() {
        None => ("NO REPORTS".to_owned(), Tone::Dim),
        Some(age) if age > STALE => (format!("STALE {} s", age.as_secs()), Tone::Warn),
        Some(_) => ("LIVE".to_owned(), Tone::Good),
    }
}

/// This hop reports, but not lately.
pub fn is_stale(hop: &HopSnapshot) -> bool {
    hop.node.is_some() && hop.age > STALE
}

fn spaces(count: u16) -> String {
    " ".repeat(usize::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{HopLink, NodeSnapshot};

    #[test]
    fn one_silent_hop_makes_the_picture_stale() {
        let hop = |age| HopSnapshot {
            link: HopLink::Attached,
            node: Some(NodeSnapshot::default()),
            age: Duration::from_millis(age),
            ..HopSnapshot::default()
        };
        let data = |ages: &[u64]| ChainSnapshot { hops: ages.iter().copied().map(hop).collect(), ..Default::default() };
        assert_eq!(liveness(&data(&[100, 900])).0, "LIVE");
        assert_eq!(liveness(&data(&[100, 4200])).0, "STALE 4 s");
        assert_eq!(liveness(&data(&[])).0, "NO REPORTS");
        assert_eq!(liveness(&ChainSnapshot { leaving: true, ..data(&[9000]) }).0, "LEAVING");
    }
}
