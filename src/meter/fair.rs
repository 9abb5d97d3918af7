//! Fair sharing of a rate limit: bodies that wait for it get a chunk each in turn, at explicit times.
//!
//! This is start-time fair queuing (Goyal, Vin, Cheng 1996): each body has a tag that grows by the bytes granted to
//! it, and the lowest tag is served first. Bodies that wait all the time therefore get equal shares, whatever the
//! lengths of their chunks, and what a body does not use is granted to the others.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::bucket::TokenBucket;

/// Chunks that a body may be behind: it missed its turns because its input or its task was late, and makes up for them.
const MAX_BEHIND: u64 = 4;
/// Chunks that a body may be ahead: it had larger ones while few others waited, and need not make up for more.
const MAX_AHEAD: u64 = 2;

/// Shortest pause of the first body: what is due by then is granted together, at the cost of one timer.
const MIN_PAUSE: Duration = Duration::from_millis(8);

/// A rate limit, and the bodies that wait for it. `W` wakes the task of a body.
#[derive(Debug)]
pub struct FairQueue<W> {
    bucket: TokenBucket,
    /// Start tag of the latest grant, in bytes.
    tag: u64,
    arrivals: u64,
    waiting: BTreeMap<Place, W>,
    /// Grants that their bodies have not collected.
    granted: HashMap<Place, u64>,
    /// The body whose timer ends when the next grant is due: always the first, so that one timer serves all.
    timed: Option<Place>,
}

/// Place of a waiting body in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    start: u64,
    arrival: u64,
}

/// State of a waiting body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may send this many bytes; its tag is now the second number.
    Granted(u64, u64),
    /// It is the first, and has to ask again after this time.
    Due(Duration),
    /// It will be woken.
    Later,
}

impl<W> FairQueue<W> {
    /// Creates the queue of a limit, in bytes per second.
    pub fn new(rate: u64) -> Self {
        Self {
            bucket: TokenBucket::new(rate),
            tag: 0,
            arrivals: 0,
            waiting: BTreeMap::new(),
            granted: HashMap::new(),
            timed: None,
        }
    }

    /// Returns the tag of a new body.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Returns the length of a chunk if one more body waits.
    pub fn chunk(&self) -> u64 {
        self.bucket.chunk(self.waiting.len() + 1) as u64
    }

    /// Adds a body with its tag to the queue.
    pub fn wait(&mut self, tag: u64, waker: W) -> Place {
        let chunk = self.chunk();
        let start = tag.clamp(self.tag.saturating_sub(MAX_BEHIND * chunk), self.tag + MAX_AHEAD * chunk);
        if self.waiting.is_empty() {
            // What it had while no other waited is not held against it when others come.
            self.tag = self.tag.max(start);
        }
        let place = Place { start, arrival: self.arrivals };
        self.arrivals += 1;
        self.waiting.insert(place, waker);
        place
    }

    /// Grants what is due at this time, wakes the bodies concerned, and returns the state of the body at this place.
    pub fn turn(&mut self, place: Place, now_us: u64, wake: impl Fn(&W)) -> Turn {
        let mut due = Duration::ZERO;
        loop {
            let bytes = self.bucket.chunk(self.waiting.len()) as u64;
            let Some(first) = self.waiting.first_entry() else { break };
            due = self.bucket.due(bytes, now_us);
            if !due.is_zero() {
                break;
            }
            self.bucket.take(bytes, now_us);
            let (granted, waker) = first.remove_entry();
            self.tag = granted.start;
            self.granted.insert(granted, bytes);
            if granted != place {
                wake(&waker);
            }
        }
        let is_first = self.waiting.first_key_value().is_some_and(|(first, _)| *first == place);
        if is_first {
            self.timed = Some(place);
            return Turn::Due(due.max(MIN_PAUSE));
        }
        self.wake_first(wake);
        self.granted.remove(&place).map_or(Turn::Later, |bytes| Turn::Granted(bytes, place.start + bytes))
    }

    /// Removes a body that does not wait any longer, and returns its grant to the others.
    pub fn leave(&mut self, place: Place, wake: impl Fn(&W)) {
        self.waiting.remove(&place);
        if let Some(bytes) = self.granted.remove(&place) {
            self.bucket.put_back(bytes);
        }
        self.wake_first(wake);
    }

    /// Returns granted bytes that were not sent.
    pub fn put_back(&mut self, bytes: u64) {
        self.bucket.put_back(bytes);
    }

    /// Wakes the first body if it has no timer yet.
    fn wake_first(&mut self, wake: impl Fn(&W)) {
        if let Some((first, waker)) = self.waiting.first_key_value()
            && self.timed != Some(*first)
        {
            self.timed = Some(*first);
            wake(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const SECOND_US: u64 = 1_000_000;

    /// A body in the simulation.
    struct Body {
        tag: u64,
        place: Option<Place>,
        sent: u64,
        /// It returns to the queue this long after a grant, in µs.
        late_us: u64,
        back_us: u64,
        woken: bool,
        timer_us: Option<u64>,
    }

    /// Runs bodies on one limit from 0 to `until_us`; those with a lateness return to the queue that much later.
    /// Returns the bytes sent by each since `from_us`, and the number of wakes and timers.
    fn simulate(rate: u64, late_us: &[u64], (from_us, until_us): (u64, u64)) -> (Vec<u64>, usize) {
        let mut queue = FairQueue::new(rate);
        let body = |late_us: &u64| Body {
            tag: 0,
            place: None,
            sent: 0,
            late_us: *late_us,
            back_us: 0,
            woken: false,
            timer_us: None,
        };
        let mut bodies: Vec<Body> = late_us.iter().map(body).collect();
        let (mut before, mut polls) = (Vec::new(), 0);
        // Timers have the granularity of tokio's.
        for now_us in (0..until_us).step_by(1000) {
            if now_us == from_us {
                before = bodies.iter().map(|body| body.sent).collect();
            }
            let mut again = true;
            while again {
                again = false;
                for at in 0..bodies.len() {
                    let body = &mut bodies[at];
                    let place = match body.place {
                        None if body.back_us <= now_us => queue.wait(body.tag, at),
                        Some(place) if body.woken || body.timer_us.is_some_and(|due| due <= now_us) => place,
                        _ => continue,
                    };
                    (body.place, body.woken, body.timer_us, polls) = (Some(place), false, None, polls + 1);
                    let woken = RefCell::new(Vec::new());
                    let turn = queue.turn(place, now_us, |at| woken.borrow_mut().push(*at));
                    match turn {
                        Turn::Granted(bytes, tag) => {
                            (body.sent, body.tag, body.place) = (body.sent + bytes, tag, None);
                            body.back_us = now_us + body.late_us;
                            again |= body.late_us == 0;
                        }
                        Turn::Due(pause) => body.timer_us = Some(now_us + pause.as_micros() as u64),
                        Turn::Later => {}
                    }
                    for at in woken.into_inner() {
                        (bodies[at].woken, again) = (true, true);
                    }
                }
            }
        }
        (bodies.iter().zip(before).map(|(body, before)| body.sent - before).collect(), polls)
    }

    /// Returns how far the shares are apart, relative to the largest, in percent.
    fn apart(sent: &[u64]) -> u64 {
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        (most - least) * 100 / most
    }

    #[test]
    fn waiting_bodies_get_equal_shares_over_two_seconds() {
        for bodies in [1, 2, 3, 7, 64] {
            for rate in [64 * 1024 * bodies, 500_000_000] {
                let (sent, _) = simulate(rate, &vec![0; bodies as usize], (SECOND_US, 3 * SECOND_US));
                assert!(apart(&sent) <= 5, "{bodies} at {rate}: {sent:?}");
                let total: u64 = sent.iter().sum();
                assert!((rate * 2 - rate / 20..=rate * 2 + rate / 20).contains(&total), "{bodies}: {total}");
            }
        }
    }

    #[test]
    fn a_body_that_is_late_by_less_than_a_round_loses_nothing() {
        let late: Vec<u64> = (0..64).map(|body| body % 4 * 20_000).collect();
        let (sent, _) = simulate(64 * 65_536, &late, (2 * SECOND_US, 4 * SECOND_US));
        assert!(apart(&sent) <= 10, "{sent:?}");
    }

    #[test]
    fn an_unused_share_goes_to_the_others() {
        // The first takes a chunk a second, far less than its share.
        let (sent, _) = simulate(1_000_000, &[SECOND_US, 0, 0], (2 * SECOND_US, 4 * SECOND_US));
        assert!(sent[0] < 200_000 && apart(&sent[1..]) <= 5, "{sent:?}");
        assert!((1_900_000..=2_100_000).contains(&sent.iter().sum::<u64>()), "{sent:?}");
    }

    #[test]
    fn only_the_first_has_a_timer() {
        let (sent, polls) = simulate(64 * 65_536, &[0; 64], (0, 2 * SECOND_US));
        let chunks = sent.iter().sum::<u64>() as usize / (64 * 65_536 / 1280);
        // One poll to join the queue, one for the grant, and one timer for several chunks.
        assert!(polls <= chunks * 5 / 2, "{polls} polls for {chunks} chunks");
    }

    #[test]
    fn a_body_that_leaves_returns_its_grant_and_its_timer() {
        let woken = RefCell::new(Vec::new());
        let wake = |at: &usize| woken.borrow_mut().push(*at);
        let mut queue = FairQueue::new(1_000_000);
        let first = queue.wait(0, 0);
        assert_eq!(queue.turn(first, 0, wake), Turn::Granted(20_000, 20_000));
        let (second, third) = (queue.wait(0, 1), queue.wait(0, 2));
        assert!(matches!(queue.turn(third, 0, wake), Turn::Later));
        assert!(matches!(queue.turn(second, 0, wake), Turn::Due(_)));
        woken.borrow_mut().clear();
        queue.leave(second, wake);
        assert_eq!(*woken.borrow(), [2], "the next one gets the timer");
        queue.put_back(20_000);
        assert!(matches!(queue.turn(third, 0, wake), Turn::Granted(..)));
    }
}
