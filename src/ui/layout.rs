//! Layout of the regions: depends on the terminal's size, the number of hops and what is open, never on figures, so
//! that nothing jumps while data flows.

use ratatui::layout::Rect;

use super::focus::{Focus, Panel, Tab, ViewMode};

/// Below this size the screen has a single line.
pub(crate) const SMALLEST: (u16, u16) = (40, 8);
/// From this height every panel has a heading, and the setup is shown.
pub(crate) const TALL: u16 = 28;
/// From this height there is room for the chain line, the connections and a heading of the chart.
const MEDIUM: u16 = 18;
/// From this height the headline is on every tab; the first tab always shows it.
const HEADLINED: u16 = 12;
/// From this width the setup is beside the chart.
const WIDE: u16 = 100;
/// Minimum height of a tab for the details of the selected row below its list.
const ROOM_FOR_BOTH: u16 = 16;

/// Positions of the regions; one without height is not drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Regions {
    /// The first row.
    pub header: Rect,
    /// The chain line.
    pub chain: Rect,
    /// The headline, on every tab.
    pub headline: Rect,
    /// The hop table.
    pub hops: Rect,
    /// The connections.
    pub connections: Rect,
    /// The throughput.
    pub chart: Rect,
    /// The setup.
    pub setup: Rect,
    /// The transfers.
    pub transfers: Rect,
    /// The node table.
    pub nodes: Rect,
    /// The log.
    pub log: Rect,
    /// Details of the selected row.
    pub detail: Rect,
    /// The caption, above the footer.
    pub caption: Rect,
    /// The last row.
    pub footer: Rect,
    /// Panels on this screen have headings.
    pub tall: bool,
}

impl Regions {
    /// Returns the region of a panel.
    pub(crate) fn of(&self, panel: Panel) -> Rect {
        match panel {
            Panel::Hops => self.hops,
            Panel::Connections => self.connections,
            Panel::Chart => self.chart,
            Panel::Setup => self.setup,
            Panel::Transfers => self.transfers,
            Panel::Nodes => self.nodes,
            Panel::Log => self.log,
        }
    }

    fn of_mut(&mut self, panel: Panel) -> &mut Rect {
        match panel {
            Panel::Hops => &mut self.hops,
            Panel::Connections => &mut self.connections,
            Panel::Chart => &mut self.chart,
            Panel::Setup => &mut self.setup,
            Panel::Transfers => &mut self.transfers,
            Panel::Nodes => &mut self.nodes,
            Panel::Log => &mut self.log,
        }
    }
}

/// Returns whether there is room for one line only.
pub(crate) fn is_small(area: Rect) -> bool {
    area.width < SMALLEST.0 || area.height < SMALLEST.1
}

/// Divides the rows of a screen among the regions; `caption` is the number of rows of the caption.
pub(crate) fn split(focus: Focus, area: Rect, hops: usize, caption: u16) -> Regions {
    if is_small(area) {
        return Regions::default();
    }
    let mut regions = Regions { tall: area.height >= TALL, ..Regions::default() };
    let mut y = area.y;
    let mut take = |height: u16| {
        let region = Rect { y, height, ..area };
        y += height;
        region
    };
    let first = focus.tab == Tab::Chain;
    // A caption must leave the rows that the panels of a low screen need.
    let caption = caption.min(area.height.saturating_sub(HEADLINED));
    regions.header = take(1);
    regions.headline = take(u16::from(first || area.height >= HEADLINED));
    regions.chain = take(u16::from(first && area.height >= MEDIUM));
    let left = area.height - 1 - regions.headline.height - regions.chain.height - caption - 1;
    let body = take(left);
    regions.caption = take(caption);
    regions.footer = take(1);
    if focus.view_mode == ViewMode::Detail && focus.panel != Panel::Log {
        regions.detail = body;
    } else if focus.tab == Tab::Chain && focus.view_mode == ViewMode::Overview {
        share(&mut regions, body, hops);
    } else {
        let panel = focus.panel;
        let both = matches!(panel, Panel::Transfers | Panel::Nodes)
            && body.height >= ROOM_FOR_BOTH
            && focus.view_mode == ViewMode::Overview;
        // The table of nodes never needs more than its rows; transfers come and go, so they have half.
        let table = u16::try_from(hops).unwrap_or(u16::MAX).saturating_add(2);
        let list = match (both, panel) {
            (false, _) => body.height,
            (true, Panel::Nodes) => table.min(body.height / 2),
            (true, _) => body.height / 2,
        };
        *regions.of_mut(panel) = Rect { height: list, ..body };
        if both {
            regions.detail = Rect { y: body.y + list, height: body.height - list, ..body };
        }
    }
    regions
}

/// Divides the rows of the first tab, from the top: the minimum of each region first, then the rest.
fn share(regions: &mut Regions, body: Rect, hops: usize) {
    let medium = regions.chain.height > 0;
    let (tall, room) = (regions.tall, body.height);
    // Heading, column titles, the client and the hops; a longer chain scrolls, so that the other panels keep their
    // rows.
    let table = u16::try_from(hops).unwrap_or(u16::MAX).saturating_add(2 + u16::from(tall));
    let least_rest = if medium { room.div_ceil(2) } else { 3.min(room - 3) };
    let table = table.min(room - least_rest);
    let rest = room - table;
    let [connections, chart, transfers, log] = match () {
        () if tall => {
            let chart = (rest * 3 / 10).clamp(4, 12);
            let [transfers, log] = [(rest / 6).max(2), (rest / 6).max(2)];
            [rest - chart - transfers - log, chart, transfers, log]
        }
        () if medium => {
            let chart = (rest * 3 / 10).max(2);
            let log = (rest / 8).max(1);
            let transfers = (rest / 5).max(2);
            [rest - chart - transfers - log, chart, transfers, log]
        }
        () => {
            let transfers = (rest * 2 / 5).max(2).min(rest);
            let chart = (rest - transfers).min(rest / 3);
            [0, chart, transfers, rest - transfers - chart]
        }
    };
    let mut y = body.y;
    let mut take = |height: u16| {
        let region = Rect { y, height, ..body };
        y += height;
        region
    };
    regions.hops = take(table);
    regions.connections = take(connections);
    regions.chart = take(chart);
    regions.transfers = take(transfers);
    regions.log = take(log);
    if tall && body.width >= WIDE {
        let chart = body.width * 11 / 20;
        regions.setup = Rect { x: body.x + chart + 2, width: body.width - chart - 2, ..regions.chart };
        regions.chart.width = chart;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_the_first_tab_cover_every_row_once() {
        for height in SMALLEST.1..=100 {
            for (hops, caption) in [(0, 2), (1, 0), (3, 2), (10, 0), (32, 1)] {
                let r = split(Focus::default(), Rect::new(0, 0, 80, height), hops, caption);
                let all = [
                    r.header,
                    r.headline,
                    r.chain,
                    r.hops,
                    r.connections,
                    r.chart,
                    r.transfers,
                    r.log,
                    r.caption,
                    r.footer,
                ];
                let mut y = 0;
                for region in all {
                    assert_eq!(region.y, y, "{height} rows, {hops} hops: {r:?}");
                    y += region.height;
                }
                assert_eq!(y, height, "{hops} hops");
                assert!(r.hops.height >= 2 && r.transfers.height >= 2, "{height} rows, {hops} hops: {r:?}");
                assert_eq!(r.setup.height, 0, "80 columns have no room for it");
            }
        }
    }

    #[test]
    fn the_setup_is_beside_the_chart_on_wide_screens() {
        let r = split(Focus::default(), Rect::new(0, 0, 120, 40), 3, 0);
        assert_eq!((r.setup.y, r.setup.height, r.setup.right()), (r.chart.y, r.chart.height, 120));
        assert!(r.chart.right() < r.setup.x);
    }

    #[test]
    fn panels_of_the_other_tabs_fill_the_screen() {
        let tabs = [
            (Tab::Connections, Panel::Connections),
            (Tab::Transfers, Panel::Transfers),
            (Tab::Nodes, Panel::Nodes),
            (Tab::Log, Panel::Log),
        ];
        for (tab, panel) in tabs {
            for view_mode in [ViewMode::Overview, ViewMode::Detail] {
                for height in SMALLEST.1..=60 {
                    let r = split(Focus { tab, view_mode, panel }, Rect::new(0, 0, 60, height), 5, 2);
                    let own = r.of(panel).height + r.detail.height;
                    let others = 2 + r.headline.height + r.caption.height;
                    assert_eq!(own + others, height, "{tab:?}, {view_mode:?}, {height}");
                    assert_eq!((r.headline.height == 1, r.caption.height > 0), (height >= 12, height > 12));
                }
            }
        }
    }
}
