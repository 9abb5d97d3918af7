//! Refusals for a reason of access: the headline names the hop and what is missing, the page who has to change what.

use chainview::snapshot::{ChainSnapshot, Phase, Refused};
use chainview::wire::{Denial, Lack, Reason};

use super::script::{Script, on_every_screen};
use super::snapshots::{idle, transfer};

const KEY: &str = "sha256:xghOvMfq1muC/F2cIjr0EZzAT2GmuAnYYt/W0dq2sNI=";

/// A chain whose only transfer was refused by hop 2.
fn refused(reason: Reason, lack: Option<(Lack, bool)>) -> ChainSnapshot {
    let mut chain = idle();
    let mut failed = transfer(1, Phase::Failed);
    failed.failed_hop = Some(2);
    failed.error = Some("hop 2 (127.0.0.1:7002): as in the log".into());
    let denial = lack.map(|(lack, has_key)| Denial { lack, key: has_key.then(|| KEY.parse().unwrap()) });
    failed.refused = Some(Refused { by: 2, reason, denial });
    chain.transfers = vec![failed];
    chain
}

/// The page of `w` as one line.
fn why(script: &mut Script) -> String {
    let screen = script.keys("w").screen();
    let words: Vec<_> = screen.split_whitespace().collect();
    words.join(" ")
}

#[test]
fn each_refusal_is_the_headline_and_its_page_states_who_changes_what() {
    let key = |lack| Some((lack, true));
    for (reason, lack, headline, help) in [
        (Reason::KeyRequired, Some((Lack::Relay, false)), "no right relay", "FINGERPRINT NAME relay=127.0.0.1:7003"),
        (Reason::KeyRequired, Some((Lack::Fetch, false)), "no right fetch", "sign with --identity FILE"),
        (Reason::KeyRequired, None, "key required", "sign with --identity FILE"),
        (Reason::Policy, key(Lack::Relay), "no right relay", "NAME relay=127.0.0.1:7003"),
        (Reason::Policy, key(Lack::Fetch), "no right fetch", "NAME fetch=/"),
        (Reason::BadSignature, key(Lack::Time), "the clocks differ", "set the clocks of this machine and of hop 2"),
        (Reason::BadSignature, key(Lack::NewId), "request repeated", "fetch again"),
        (Reason::BadSignature, key(Lack::Address), "another address", "--host-name 127.0.0.1:7002"),
        (Reason::BadSignature, key(Lack::Signature), "bad signature", "compare key= of hop 2"),
        (Reason::TooManyTransfers, key(Lack::Transfers), "too many transfers", "raises transfers= on the line"),
        (Reason::DailyLimit, key(Lack::Bytes), "daily limit", "raises per-day= on the line"),
        (Reason::WrongKey, None, "wrong key", "another machine answers for it"),
        (Reason::Unauthorized, None, "wrong token", "token-file= of hop 2"),
    ] {
        let chain = refused(reason, lack);
        let narrow = Script::new(60, 15, chain.clone()).screen();
        let head = narrow.lines().nth(1).unwrap();
        assert!(head.contains("hop 2") && head.contains(headline), "{reason:?} {lack:?}: {narrow}");
        let wide = Script::new(160, 40, chain.clone()).screen();
        let head = wide.lines().nth(1).unwrap();
        assert!(head.contains("#1 failed: hop 2 refuses it: ") && !head.contains(KEY), "{wide}");
        let page = why(&mut Script::new(160, 40, chain));
        assert!(page.contains("What helps") && page.contains(help), "{reason:?} {lack:?}: {page}");
    }
}

#[test]
fn the_line_to_add_has_the_whole_key() {
    let page = why(&mut Script::new(160, 40, refused(Reason::Policy, Some((Lack::Fetch, true)))));
    assert!(page.contains("the operator of hop 2") && page.contains(&format!("{KEY} NAME fetch=/")), "{page}");
}

#[test]
fn the_headline_has_the_hop_at_every_size() {
    on_every_screen(&refused(Reason::Policy, Some((Lack::Relay, true))), |script| {
        let screen = script.screen();
        assert!(screen.contains("hop 2"), "{screen}");
    });
}
