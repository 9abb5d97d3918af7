//! Executes the demo's tour on the chain, in the same ways as commands of the user.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::controller::Controller;
use super::tour::TourRun;
use crate::command::TourCommand;
use crate::net::slow_link::{LinkShape, SlowLink};
use crate::net::supervisor::{DutyCycle, Order};
use crate::route::{Host, HostPort, Route};
use crate::snapshot::{ChainSnapshot, Level};
use crate::tour::{DUTY, LINK_DELAY, LINK_RATE, Tour, TourStep};
use crate::units::Rate;

impl Controller {
    /// Executes a command of the user, or begins the tour.
    pub(super) fn command_tour(&mut self, command: TourCommand) {
        self.advance_tour(|tour, now, chain| tour.command(command, now, chain));
    }

    /// Advances the tour.
    pub(super) fn step_tour(&mut self) {
        self.advance_tour(Tour::step);
    }

    fn advance_tour(&mut self, advance: impl FnOnce(&mut Tour, Duration, &ChainSnapshot) -> Vec<TourStep>) {
        let Some(mut run) = self.tour.take() else { return };
        let (now, last) = (run.began.elapsed(), self.publisher.last.clone());
        for step in advance(&mut run.tour, now, &last) {
            self.execute_step(step, &mut run);
        }
        self.publisher.tour = Some(run.tour.snapshot(now, &last));
        self.tour = Some(run);
    }

    fn execute_step(&mut self, step: TourStep, run: &mut TourRun) {
        match step {
            TourStep::Command(command) => self.execute(command),
            TourStep::SlowProcess { hop, on } => self.slow_process(hop, on),
            TourStep::RestoreLink => {
                if let Some(link) = &run.link {
                    link.set(None);
                    self.log_tour(None, "the link is fast again");
                }
            }
            TourStep::Fetch { over_slow_link, rate } => {
                let [file, _] = run.files.clone();
                // Two in turns, because the one before may not have ended.
                run.files.rotate_left(1);
                // A file that is there already would not count as fetched, and no later step reads it.
                let _ = std::fs::remove_file(self.plan.fetch.output.join(file.shown().as_str()));
                let route = self.publisher.route.with_file(file.clone());
                let route = if over_slow_link { self.over_slow_link(&route, run) } else { Ok(route) };
                match route.and_then(|route| self.publisher.queue.add(route, rate)) {
                    Ok(number) => {
                        run.tour.fetching(number);
                        self.log_tour(None, &format!("#{number} {}: requesting", file.shown()));
                    }
                    Err(why) => self.publisher.log.push(Level::Warn, None, format!("tour: {why}")),
                }
            }
        }
    }

    fn slow_process(&mut self, hop: usize, on: bool) {
        let [runs, stopped] = DUTY;
        let Some(supervisor) = &self.supervisor else { return };
        match supervisor.order(hop, Order::SetDutyCycle(on.then_some(DutyCycle { runs, stopped }))) {
            Ok(()) if on => {
                let of = (runs + stopped).as_millis();
                self.log_tour(
                    Some(hop),
                    &format!("the process is stopped for {} of every {of} ms", stopped.as_millis()),
                );
            }
            Ok(()) => self.log_tour(Some(hop), "the process runs all of the time again"),
            Err(why) => self.publisher.log.push(Level::Warn, Some(hop), format!("tour: {why}")),
        }
    }

    /// Returns the route whose last hop is reached over the slow link.
    fn over_slow_link(&mut self, route: &Route, run: &mut TourRun) -> Result<Route, String> {
        let mut hops = route.hops().to_vec();
        let last = hops.last_mut().ok_or("there are no hops")?;
        let link = match run.link.take() {
            Some(link) => link,
            None => SlowLink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, last.address.port)))
                .map_err(|error| format!("no slow link: {error}"))?,
        };
        link.set(Some(LinkShape { delay: LINK_DELAY, rate: LINK_RATE }));
        last.address = HostPort { host: Host::Ip(Ipv4Addr::LOCALHOST.into()), port: link.port() };
        let (shown, delay) = (last.address.clone(), LINK_DELAY.as_millis());
        run.link = Some(link);
        self.log_tour(None, &format!("forwarder {shown} delays replies by {delay} ms and passes {}", Rate(LINK_RATE)));
        Route::new(route.file.clone(), hops).ok_or_else(|| "there are no hops".to_owned())
    }

    fn log_tour(&mut self, hop: Option<usize>, text: &str) {
        self.publisher.log.push(Level::Info, hop, format!("tour: {text}"));
    }
}
