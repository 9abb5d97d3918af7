//! The demo's tour over real nodes, without a screen: it runs by itself, and every cause is named.

use std::time::Duration;

use chainview::command::{Command, TourCommand};
use chainview::snapshot::verdict::Limit;
use chainview::snapshot::{ChainSnapshot, NamedCause, TourSnapshot};
use chainview::tour::Pace;

use super::*;

/// Short acts, but long enough for a verdict on a loaded machine.
fn pace() -> Pace {
    let [act, settle, head_start, down] = [8000, 1000, 1000, 1500].map(Duration::from_millis);
    Pace { act, settle, head_start, down }
}

fn run() -> Run {
    let RunMode::Demo { fetch, nodes } = cli::read_from(["chainview", "--demo"], None).unwrap().mode else {
        panic!("not the demo")
    };
    let mut plan = ours(ChainPlan::tour(&fetch, &nodes).unwrap());
    plan.tour.as_mut().unwrap().pace = pace();
    Run::control(Chain::new(1, 10), plan)
}

fn act(chain: &ChainSnapshot) -> usize {
    match &chain.tour {
        Some(TourSnapshot::Act(act)) => act.number,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_runs_by_itself_and_leaves_a_fast_chain() {
    let run = run();
    let over = run.until("all acts over", |chain| matches!(chain.tour, Some(TourSnapshot::Over(_)))).await;
    let Some(TourSnapshot::Over(acts)) = &over.tour else { panic!("not over") };
    let causes: Vec<&NamedCause> =
        acts.iter().map(|act| &act.named.as_ref().unwrap_or_else(|| panic!("not named: {acts:#?}")).0).collect();
    let limits: Vec<Limit> = causes
        .iter()
        .filter_map(|cause| if let NamedCause::Verdict(verdict) = cause { Some(verdict.limit) } else { None })
        .collect();
    assert!(matches!(limits[0], Limit::RateLimit { hop: 2, rate: 4_000_000 }), "{limits:?}");
    assert!(matches!(limits[1], Limit::Relay { hop: 1 }), "{limits:?}");
    assert!(matches!(limits[2], Limit::Link { from: 3, to: 2, .. }), "{limits:?}");
    let NamedCause::Interrupted { hop: 2, error, resumed_from: Some(1..) } = causes[3] else { panic!("{causes:?}") };
    assert!(error.as_str().contains("hop 2"), "{error}");
    assert!(acts.iter().all(|act| !act.skipped));
    // Every transfer is complete, no hop is limited, and the next fetch is one of the user.
    assert!(over.transfers.iter().all(|transfer| transfer.phase == Phase::Done), "{:#?}", over.transfers);
    let unlimited =
        |chain: &ChainSnapshot| chain.hops.iter().all(|hop| hop.node.as_ref().is_some_and(|node| !node.faults.any()));
    run.until("no faults", unlimited).await;
    run.command(Command::Fetch).await;
    let number = over.transfers.last().unwrap().number + 1;
    let fetched = run.phase(number, Phase::Done).await;
    assert_eq!(fetched.name.as_str(), "demo.bin");
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_skip_stop_and_restart_the_tour() {
    let run = run();
    run.until("the first act", |chain| act(chain) == 1).await;
    run.command(Command::Tour(TourCommand::Next)).await;
    run.until("the second act", |chain| act(chain) == 2).await;
    run.command(Command::Tour(TourCommand::Stop)).await;
    run.until("stopped", |chain| chain.tour == Some(TourSnapshot::Stopped)).await;
    run.command(Command::Tour(TourCommand::Next)).await;
    run.until("the first act again", |chain| act(chain) == 1).await;
    run.ends().await;
}
