//! Layout of the regions: depends on the terminal's size, what is open, and how many rows the lists had at most since
//! the tab changed, never on figures, so that nothing jumps while data flows.

mod lend;

use ratatui::layout::{Position, Rect};

use super::focus::{Focus, Panel, Tab, ViewMode};
pub(crate) use lend::Wants;
use lend::{Height, Lending, Part};

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
/// From this width the panels below the hop table are in two columns.
const TWO_COLUMNS: u16 = 160;
/// Width of the right column at most: its lines are seldom longer.
const WIDEST_ASIDE: u16 = 100;
/// Minimum height of a tab for the details of the selected row below its list.
const ROOM_FOR_BOTH: u16 = 16;
/// The same for connections, of which there are more.
const ROOM_BELOW_CONNECTIONS: u16 = 24;

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
    /// The transfers that have not ended; all of them where there is no region for those that have.
    pub transfers: Rect,
    /// The transfers that have ended.
    pub finished: Rect,
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
    /// How the stages spent their time.
    pub waits: Rect,
    /// The hop table has a heading.
    pub hops_titled: bool,
    /// The panels are in two columns: the chart shows all stages, the details are those of the selected row.
    pub in_columns: bool,
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
            Panel::Files => self.detail,
        }
    }

    /// Places panels below each other.
    fn place(&mut self, area: Rect, rows: &Lending, parts: &[Part]) {
        let mut y = area.y;
        for part in parts {
            let height = rows.of(*part);
            *match part {
                Part::Hops => &mut self.hops,
                Part::Transfers => &mut self.transfers,
                Part::Connections => &mut self.connections,
                Part::Chart => &mut self.chart,
                Part::Finished => &mut self.finished,
                Part::Waits => &mut self.waits,
                Part::Setup => &mut self.setup,
                Part::Detail => &mut self.detail,
                Part::Log => &mut self.log,
            } = Rect { y, height, ..area };
            y += height;
        }
    }

    /// Places the hop table, and the other panels in two columns below it.
    fn place_wide(&mut self, area: Rect, [top, left, right]: &[Lending; 3]) {
        let aside = (area.width * 2 / 5).min(WIDEST_ASIDE);
        let below = top.of(Part::Hops);
        let columns = Rect { y: area.y + below, height: area.height - below, ..area };
        let (x, width) = (columns.right() - aside, area.width - aside - 2);
        self.place(Rect { width, ..columns }, left, &[Part::Transfers, Part::Connections, Part::Chart, Part::Finished]);
        let aside = Rect { x, width: aside, ..columns };
        self.place(aside, right, &[Part::Waits, Part::Setup, Part::Detail, Part::Log]);
        self.place(area, top, &[Part::Hops]);
        (self.hops_titled, self.in_columns) = (true, true);
    }

    /// Returns the panel at a position.
    pub(crate) fn panel_at(&self, at: Position) -> Option<Panel> {
        let panels =
            [Panel::Hops, Panel::Connections, Panel::Chart, Panel::Setup, Panel::Transfers, Panel::Nodes, Panel::Log];
        let panel = panels.into_iter().find(|panel| self.of(*panel).contains(at));
        panel.or_else(|| self.finished.contains(at).then_some(Panel::Transfers))
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
            Panel::Files => &mut self.detail,
        }
    }
}

/// Returns whether there is room for one line only.
pub(crate) fn is_small(area: Rect) -> bool {
    area.width < SMALLEST.0 || area.height < SMALLEST.1
}

/// Divides the rows of a screen among the regions; `caption` is the number of rows of the caption.
pub(crate) fn split(focus: Focus, area: Rect, wants: &Wants, caption: u16) -> Regions {
    if is_small(area) {
        return Regions::default();
    }
    let mut regions = Regions::default();
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
    let panel = focus.panel;
    let is_detail = focus.view_mode == ViewMode::Detail && panel != Panel::Log;
    if is_detail || focus.view_mode == ViewMode::Why {
        regions.detail = body;
    } else if first && focus.view_mode == ViewMode::Overview {
        let height = match area.height {
            ..MEDIUM => Height::Low,
            MEDIUM..TALL => Height::Medium,
            TALL.. => Height::Tall,
        };
        if height == Height::Tall && body.width >= TWO_COLUMNS {
            regions.place_wide(body, &lend::wide(body.height, wants));
            return regions;
        }
        let (rows, titled) = lend::first_tab(body.height, wants, height);
        regions.place(body, &rows, &Part::ALL);
        regions.hops_titled = titled;
        if height == Height::Tall && body.width >= WIDE {
            beside(&mut regions);
        }
    } else {
        let room = match panel {
            Panel::Transfers | Panel::Nodes => ROOM_FOR_BOTH,
            Panel::Connections => ROOM_BELOW_CONNECTIONS,
            _ => u16::MAX,
        };
        let both = body.height >= room && focus.view_mode == ViewMode::Overview;
        let list = match (both, panel) {
            (false, _) => body.height,
            (true, Panel::Nodes) => wants.hops.saturating_add(2).min(body.height / 2),
            (true, Panel::Connections) => wants.connections.saturating_add(2).min(body.height * 2 / 3),
            (true, _) => wants.transfers().min(body.height * 3 / 5),
        };
        let region = Rect { height: list, ..body };
        regions.hops_titled = true;
        if panel == Panel::Transfers {
            regions.place(region, &lend::transfers(region.height, wants), &Part::ALL);
        } else {
            *regions.of_mut(panel) = region;
        }
        if both {
            regions.detail = Rect { y: body.y + list, height: body.height - list, ..body };
        }
    }
    regions
}

/// Puts the setup beside the chart.
fn beside(regions: &mut Regions) {
    let chart = regions.chart.width * 11 / 20;
    let (x, width) = (regions.chart.x + chart + 2, regions.chart.width - chart - 2);
    regions.setup = Rect { x, width, ..regions.chart };
    regions.chart.width = chart;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chains and queues of different lengths.
    const WANTS: [Wants; 5] = [
        Wants { hops: 0, running: 0, open: 4, ended: 0, connections: 2, log: 0 },
        Wants { hops: 3, running: 4, open: 12, ended: 2, connections: 4, log: 30 },
        Wants { hops: 10, running: 1, open: 1, ended: 40, connections: 1, log: 3 },
        Wants { hops: 32, running: 60, open: 4000, ended: 500, connections: 5000, log: 1000 },
        Wants { hops: 1, running: 0, open: 900, ended: 1, connections: 0, log: 0 },
    ];

    #[test]
    fn regions_of_the_first_tab_cover_every_row_once() {
        for (wants, height) in WANTS.iter().flat_map(|wants| (SMALLEST.1..=100).map(move |height| (wants, height))) {
            for caption in 0..=2 {
                let r = split(Focus::default(), Rect::new(0, 0, 80, height), wants, caption);
                let fixed = [r.header, r.headline, r.chain];
                let panels = [r.hops, r.transfers, r.connections, r.chart, r.finished, r.log];
                let mut y = 0;
                for region in fixed.into_iter().chain(panels).chain([r.caption, r.footer]) {
                    assert_eq!(region.y, y, "{height} rows, {wants:?}: {r:?}");
                    y += region.height;
                }
                assert_eq!(y, height, "{wants:?}");
                assert!(r.hops.height >= 2 && r.transfers.height >= 2, "{height} rows, {wants:?}: {r:?}");
                assert_eq!(r.setup.height, 0, "80 columns have no room for it");
            }
        }
    }

    #[test]
    fn a_panel_that_wants_more_rows_never_gets_fewer() {
        let heights = |wants: &Wants, height| {
            let r = split(Focus::default(), Rect::new(0, 0, 80, height), wants, 0);
            [r.hops, r.transfers, r.connections, r.finished].map(|region| region.height)
        };
        for (wants, height) in WANTS.iter().flat_map(|wants| (SMALLEST.1..=80).map(move |height| (wants, height))) {
            let mut before = heights(wants, height);
            for more in 1..30 {
                let grown = [
                    Wants { hops: wants.hops + more, ..*wants },
                    Wants { running: wants.running + more, open: wants.open + more, ..*wants },
                    Wants { connections: wants.connections + more, ..*wants },
                    Wants { ended: wants.ended + more, ..*wants },
                ];
                for (panel, grown) in grown.iter().enumerate() {
                    let own = heights(grown, height)[panel];
                    assert!(own >= before[panel], "panel {panel} of {height} rows: {wants:?}, {grown:?}");
                    before[panel] = own;
                }
            }
        }
    }

    #[test]
    fn a_full_panel_borrows_the_rows_of_an_empty_one() {
        let r = |wants| split(Focus::default(), Rect::new(0, 0, 120, 40), &wants, 0);
        let busy = Wants { hops: 3, running: 4, open: 12, ended: 2, connections: 1, log: 30 };
        assert!(r(busy).transfers.height >= 9 && r(busy).connections.height == 3, "{:?}", r(busy));
        let crowded = Wants { running: 1, open: 1, connections: 40, ..busy };
        assert!(r(crowded).transfers.height == 2 && r(crowded).connections.height >= 9, "{:?}", r(crowded));
        assert_eq!(r(busy).finished.height, 3, "both of them, and the heading");
        assert_eq!(r(Wants { ended: 0, ..busy }).finished.height, 0);
    }

    #[test]
    fn the_setup_is_beside_the_chart_on_wide_screens() {
        let r = split(Focus::default(), Rect::new(0, 0, 120, 40), &WANTS[1], 0);
        assert_eq!((r.setup.y, r.setup.height, r.setup.right()), (r.chart.y, r.chart.height, 120));
        assert!(r.chart.right() < r.setup.x);
    }

    #[test]
    fn the_columns_of_a_wide_screen_cover_every_cell_once() {
        for (wants, height) in WANTS.iter().flat_map(|wants| (TALL..=100).map(move |height| (wants, height))) {
            for width in [TWO_COLUMNS, 200, 400] {
                let r = split(Focus::default(), Rect::new(0, 0, width, height), wants, 0);
                assert!(r.in_columns && r.hops.y == 3, "{r:?}");
                let columns = [
                    [r.transfers, r.connections, r.chart, r.finished].to_vec(),
                    [r.waits, r.setup, r.detail, r.log].to_vec(),
                ];
                for column in &columns {
                    let mut y = r.hops.bottom();
                    for region in column.iter().filter(|region| region.height > 0) {
                        assert_eq!((region.y, region.x), (y, column[0].x), "{wants:?}, {height}: {r:?}");
                        y = region.bottom();
                    }
                    assert_eq!(y, height - 1, "{wants:?}, {height}: {r:?}");
                }
                assert_eq!((r.transfers.right() + 2, r.log.right()), (r.log.x, width));
                assert!(
                    r.transfers.height >= 2 && r.chart.height >= 3 && r.log.height >= 3,
                    "{wants:?}, {height}: {r:?}"
                );
            }
        }
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
                for (wants, height) in WANTS.iter().flat_map(|wants| (SMALLEST.1..=60).map(move |h| (wants, h))) {
                    let r = split(Focus { tab, view_mode, panel }, Rect::new(0, 0, 60, height), wants, 2);
                    let own = r.of(panel).height + r.finished.height + r.detail.height;
                    let others = 2 + r.headline.height + r.caption.height;
                    assert_eq!(own + others, height, "{tab:?}, {view_mode:?}, {height}");
                    assert_eq!((r.headline.height == 1, r.caption.height > 0), (height >= 12, height > 12));
                }
            }
        }
    }
}
