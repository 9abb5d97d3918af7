//! Header: the program, its tabs, its source, whether the figures are live, how many hops are up, how many transfers
//! are active.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::{ChainSnapshot, HopSnapshot};
use crate::ui::focus::Tab;
use crate::ui::paint::{Row, width};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;

/// Age from which a report is stale: nodes send four a second.
pub(crate) const STALE: Duration = Duration::from_millis(1500);
/// Minimum widths for the full names of the tabs, and for short names.
const NAMED: (u16, u16) = (108, FEW);
const FEW: u16 = 76;
const PROGRAM: &str = "chainview";

/// Draws the header. Items at the right are placed first.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let (up, hops) = up(data);
    let active = data.transfers.iter().filter(|t| !t.phase.is_over()).count();
    let (word, role) = freshness(state, data);
    let all_up = if up == hops { StyleRole::Good } else { StyleRole::Bad };
    let gap: u16 = if area.width < NAMED.0 { 2 } else { 3 };
    let faults = data.hops.iter().filter_map(|hop| hop.node.as_ref()).any(|node| {
        let faults = &node.faults;
        faults.stall || faults.reject || faults.truncate.is_some() || faults.fragment.is_some()
    });

    let tabs = tabs(area.width);
    let mut free = area.width.saturating_sub(tabs.last().map_or(0, |tab| tab.at + tab.columns) + gap);
    if area.width < NAMED.1 {
        free = free.saturating_sub(width(state.tab.names().0) + gap);
    }
    let (active_word, active_role) =
        (format!("{active} active"), if active == 0 { StyleRole::Dim } else { StyleRole::Flow });
    // In order of importance; each with its position from the right.
    let mut words = vec![
        (2, word, role),
        (1, format!("{up}/{hops} up"), all_up),
        (0, active_word, active_role),
        (3, if faults { "FAULTS".to_owned() } else { String::new() }, StyleRole::Warn),
        (4, data.source.to_string(), StyleRole::Dim),
    ];
    words.retain(|(_, text, _)| {
        let fits = !text.is_empty() && width(text) + gap <= free;
        free -= if fits { width(text) + gap } else { 0 };
        fits
    });
    words.sort_by_key(|(position, ..)| *position);
    let plain = theme.style(StyleRole::Plain);
    let mut row = Row::new(buffer, area);
    row.put_right(" ", plain);
    for (_, text, role) in &words {
        row.put_right(text, theme.style(*role)).put_right(&" ".repeat(usize::from(gap)), plain);
    }
    if tabs.first().is_some_and(|tab| tab.at > width(PROGRAM)) {
        row.skip(1).put(PROGRAM, theme.style(StyleRole::Title));
    }
    let end = tabs.last().map_or(0, |tab| tab.at + tab.columns);
    for tab in tabs {
        let shown = state.tab == tab.tab;
        let mut row = Row::new(buffer, area);
        row.skip(tab.at).put(&tab.digit, theme.style(if shown { StyleRole::Selected } else { StyleRole::Key }));
        row.skip(u16::from(!tab.name.is_empty()));
        row.put(tab.name, theme.style(if shown { StyleRole::Selected } else { StyleRole::Dim }));
    }
    if area.width < NAMED.1 {
        Row::new(buffer, area).skip(end + gap).put(state.tab.names().0, theme.style(StyleRole::Selected));
    }
}

/// Returns how many hops of the chain are up, and how many there are, without the nodes that are only watched.
pub(crate) fn up(data: &ChainSnapshot) -> (usize, usize) {
    let hops = || data.route_hops();
    (hops().filter(|hop| hop.link.is_up()).count(), hops().count())
}

/// Position of the name of a tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TabPosition {
    /// The tab.
    pub tab: Tab,
    /// Number of columns before it.
    pub at: u16,
    /// Its width.
    pub columns: u16,
    digit: String,
    name: &'static str,
}

/// Returns the positions of the tabs at this width.
pub(crate) fn tabs(terminal: u16) -> Vec<TabPosition> {
    let program = width(PROGRAM) + 1;
    let mut at = match terminal {
        ..56 => 0,
        56..FEW => program,
        _ => program + 1,
    };
    let gap = if terminal >= NAMED.0 { 2 } else { 1 };
    let position = |(i, tab): (usize, Tab)| {
        let name = match terminal {
            _ if terminal >= NAMED.0 => tab.names().0,
            _ if terminal >= NAMED.1 => tab.names().1,
            _ => "",
        };
        at += gap;
        let columns = 1 + if name.is_empty() { 0 } else { 1 + width(name) };
        let placed = TabPosition { tab, at, columns, digit: (i + 1).to_string(), name };
        at += columns;
        placed
    };
    Tab::ALL.into_iter().enumerate().map(position).collect()
}

/// Returns whether the display is current, as a label with its style.
pub(crate) fn freshness(state: &UiState, data: &ChainSnapshot) -> (String, StyleRole) {
    match &state.frozen {
        Some(frozen) => {
            let age = state.now.saturating_sub(frozen.since).as_secs();
            (format!("FROZEN {age} s"), StyleRole::Warn)
        }
        None => liveness(data),
    }
}

fn liveness(data: &ChainSnapshot) -> (String, StyleRole) {
    if data.exiting {
        return ("SHUTTING DOWN".to_owned(), StyleRole::Warn);
    }
    let lost = data.hops.iter().filter(|hop| hop.is_lost()).count();
    if lost > 0 {
        return (format!("RECONNECTING {lost}"), StyleRole::Warn);
    }
    let reporting = || data.hops.iter().filter(|hop| hop.node.is_some() && hop.link.is_up());
    match reporting().map(|hop| hop.age).max() {
        None => ("NO REPORTS".to_owned(), StyleRole::Dim),
        Some(age) if age > STALE => (format!("STALE {} s", age.as_secs()), StyleRole::Warn),
        Some(_) => ("LIVE".to_owned(), StyleRole::Good),
    }
}

/// Returns whether the last report of this hop is old.
pub(crate) fn is_stale(hop: &HopSnapshot) -> bool {
    hop.node.is_some() && hop.age > STALE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{HopLink, NodeSnapshot};

    #[test]
    fn one_silent_hop_makes_the_display_stale() {
        let hop = |age| HopSnapshot {
            link: HopLink::Attached,
            node: Some(NodeSnapshot::default()),
            age: Duration::from_millis(age),
            ..HopSnapshot::default()
        };
        let data = |ages: &[u64]| ChainSnapshot { hops: ages.iter().copied().map(hop).collect(), ..Default::default() };
        assert_eq!(liveness(&data(&[100, 900])).0, "LIVE");
        assert_eq!(liveness(&data(&[100, 4200])).0, "STALE 4 s");
        let mut lost = data(&[100, 4200]);
        lost.hops[0].link = HopLink::Down { reason: "no longer responding".into() };
        assert_eq!(liveness(&lost).0, "RECONNECTING 1");
        lost.hops[0].ours = true;
        assert_eq!(liveness(&lost).0, "STALE 4 s", "one of ours is restarted, not reconnected");
        assert_eq!(liveness(&data(&[])).0, "NO REPORTS");
        assert_eq!(liveness(&ChainSnapshot { exiting: true, ..data(&[9000]) }).0, "SHUTTING DOWN");
    }

    #[test]
    fn tabs_fit_at_every_width() {
        for terminal in 40..=200 {
            let tabs = tabs(terminal);
            assert_eq!(tabs.len(), Tab::ALL.len());
            assert!(tabs.windows(2).all(|pair| pair[0].at + pair[0].columns < pair[1].at), "{terminal}: {tabs:?}");
            assert!(tabs[4].at + tabs[4].columns < terminal, "{terminal}: {tabs:?}");
        }
    }
}
