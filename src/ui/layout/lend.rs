//! Rows of the first tab and of the transfers: each panel first gets the rows without which it is of no use, then lends
//! what it does not need to the others, in the order of their use.
//!
//! A panel's height grows with its own wants and with the rows of the screen, and depends on nothing else but the wants
//! of the others: as these only grow until the tab changes, nothing jumps.

/// Rows of the details beside the other panels, which most hops and transfers need.
const DETAIL: u16 = 20;

/// Rows that the lists of a screen have: the highest numbers since the tab or the size last changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Hops.
    pub hops: u16,
    /// Transfers that run, are retried or are paused.
    pub running: u16,
    /// All transfers that have not ended, or the lines of the hint where there are none.
    pub open: u16,
    /// Transfers that have ended.
    pub ended: u16,
    /// Connections, or the lines of the hint where there are none.
    pub connections: u16,
    /// Log lines.
    pub log: u16,
}

impl Wants {
    /// Returns the higher number of each kind.
    #[must_use]
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            hops: self.hops.max(other.hops),
            running: self.running.max(other.running),
            open: self.open.max(other.open),
            ended: self.ended.max(other.ended),
            connections: self.connections.max(other.connections),
            log: self.log.max(other.log),
        }
    }

    /// Returns the rows of all transfers with their headings.
    pub(super) fn transfers(&self) -> u16 {
        self.open.max(1).saturating_add(1).saturating_add(self.finished())
    }

    /// Returns the rows of the hop table.
    fn table(&self, titled: bool) -> u16 {
        self.hops.saturating_add(2 + u16::from(titled))
    }

    /// Returns the rows of the finished transfers with their heading; none before one has ended.
    fn finished(&self) -> u16 {
        if self.ended == 0 { 0 } else { self.ended.saturating_add(1) }
    }
}

/// Height class of the first tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Height {
    /// No room for connections and headings of all panels.
    Low,
    /// Every panel has a few rows.
    Medium,
    /// Every panel has its heading and several rows.
    Tall,
}

/// Panels that lend each other rows, in the order of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The hop table.
    Hops,
    /// Transfers that have not ended.
    Transfers,
    /// Connections.
    Connections,
    /// Throughput, and the setup beside it.
    Chart,
    /// Transfers that have ended.
    Finished,
    /// How the stages spent their time.
    Waits,
    /// The setup, where it is not beside the chart.
    Setup,
    /// Details of the selected row.
    Detail,
    /// The log.
    Log,
}

impl Part {
    /// All parts, from the top of the screen.
    pub(super) const ALL: [Self; 9] = [
        Self::Hops,
        Self::Transfers,
        Self::Connections,
        Self::Chart,
        Self::Finished,
        Self::Waits,
        Self::Setup,
        Self::Detail,
        Self::Log,
    ];
}

/// Rows handed out so far, and those left.
pub(super) struct Lending {
    left: u16,
    rows: [u16; Part::ALL.len()],
}

impl Lending {
    fn new(left: u16) -> Self {
        Self { left, rows: [0; Part::ALL.len()] }
    }

    /// Returns the rows of a panel.
    pub(super) fn of(&self, part: Part) -> u16 {
        self.rows[part as usize]
    }

    /// Raises a panel to this height, as far as rows are left.
    fn raise(&mut self, part: Part, height: u16) {
        let more = height.saturating_sub(self.of(part)).min(self.left);
        self.rows[part as usize] += more;
        self.left -= more;
    }

    /// The same for a panel that is of no use with fewer than `least` rows: it gets those or none.
    fn raise_from(&mut self, part: Part, least: u16, height: u16) {
        if self.of(part) + self.left >= least && height >= least {
            self.raise(part, height);
        }
    }
}

/// Divides the rows of the first tab, and returns whether the hop table has a heading.
pub(super) fn first_tab(room: u16, w: &Wants, height: Height) -> (Lending, bool) {
    let table = |titled: bool| w.table(titled);
    // A longer chain scrolls, so that the other panels keep their rows.
    let most = if height == Height::Low { (room / 2).max(3) } else { room / 2 };
    // Without a heading nothing would mark the hops out of view; two rows of hops are worth it.
    let titled = height != Height::Low || table(false) > most && most >= 4;
    let table = table(titled).min(most);
    let running = w.running.saturating_add(1);
    let open = w.open.saturating_add(1);
    let connections = w.connections.saturating_add(2);
    let mut lend = Lending::new(room);
    match height {
        Height::Low => {
            lend.raise(Part::Hops, 3);
            lend.raise(Part::Transfers, 2);
            lend.raise(Part::Hops, table);
            lend.raise(Part::Transfers, running.min(room / 2));
            lend.raise(Part::Log, 1);
            lend.raise(Part::Transfers, open.min(room / 2));
            lend.raise(Part::Chart, 2);
        }
        Height::Medium => {
            lend.raise(Part::Hops, table);
            lend.raise(Part::Transfers, running.min(room / 4).max(2));
            lend.raise_from(Part::Connections, 3, 3);
            lend.raise_from(Part::Chart, 2, 3);
            lend.raise(Part::Log, 2);
            lend.raise_from(Part::Finished, 2, w.finished().min(2));
            lend.raise(Part::Transfers, running.min(room / 3));
            lend.raise(Part::Connections, connections.min(room / 4));
            lend.raise(Part::Transfers, open.min(room / 3));
            lend.raise(Part::Finished, w.finished().min(room / 5));
            lend.raise(Part::Chart, 4);
        }
        Height::Tall => {
            lend.raise(Part::Hops, table);
            lend.raise(Part::Transfers, running.min(room / 4).max(2));
            lend.raise(Part::Connections, 3);
            lend.raise(Part::Chart, 5);
            lend.raise(Part::Log, 3);
            lend.raise(Part::Finished, w.finished().min(3));
            lend.raise(Part::Transfers, running.saturating_add(3).min(open).min(room / 3));
            lend.raise(Part::Connections, connections.min(room / 4));
            lend.raise(Part::Finished, w.finished().min(4));
            lend.raise(Part::Chart, 8);
            lend.raise(Part::Transfers, open.min(room / 2));
            lend.raise(Part::Connections, connections.min(room / 3));
            lend.raise(Part::Finished, w.finished().min(room / 4));
            lend.raise(Part::Log, w.log.min(room / 4));
            lend.raise(Part::Chart, 12);
        }
    }
    lend.raise(Part::Log, room);
    (lend, titled)
}

/// Divides the rows of a wide first tab: the hop table, and below it a left and a right column.
pub(super) fn wide(room: u16, w: &Wants) -> [Lending; 3] {
    let mut top = Lending::new(room / 2);
    top.raise(Part::Hops, w.table(true));
    let room = room - top.of(Part::Hops);
    let stages = w.hops.saturating_add(1);
    let mut left = Lending::new(room);
    left.raise(Part::Transfers, w.running.saturating_add(1).min(room / 3).max(2));
    left.raise(Part::Connections, 3);
    left.raise(Part::Chart, 3);
    left.raise_from(Part::Finished, 2, w.finished().min(4));
    left.raise(Part::Chart, stages.saturating_mul(2).saturating_add(2).min(room / 2));
    left.raise(Part::Transfers, w.open.saturating_add(1).min(room / 3));
    left.raise(Part::Connections, w.connections.saturating_add(2).min(room / 4));
    left.raise(Part::Finished, w.finished().min(room / 4));
    left.raise(Part::Chart, room);
    let mut right = Lending::new(room);
    // Strip or bar of each stage, the heading, and the times or the sentence.
    right.raise(Part::Waits, stages.saturating_add(2).min(room / 3));
    right.raise(Part::Setup, stages.saturating_add(2).min(room / 4));
    right.raise(Part::Log, 8);
    right.raise_from(Part::Detail, 8, DETAIL.min(room / 3));
    right.raise(Part::Log, room);
    [top, left, right]
}

/// Divides rows between the transfers that have not ended and those that have.
pub(super) fn transfers(room: u16, wants: &Wants) -> Lending {
    let mut lend = Lending::new(room);
    lend.raise(Part::Transfers, wants.running.saturating_add(1).max(2).min(room * 2 / 3));
    lend.raise_from(Part::Finished, 2, wants.finished().min(3));
    lend.raise(Part::Transfers, wants.open.saturating_add(1).min(room * 2 / 3));
    lend.raise(if lend.of(Part::Finished) > 0 { Part::Finished } else { Part::Transfers }, room);
    lend
}
