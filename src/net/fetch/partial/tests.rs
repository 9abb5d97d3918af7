//! Tests of what an earlier run left: ranges and beginnings, intact, altered, truncated.

#![expect(clippy::single_range_in_vec_init, reason = "the lists are lists of ranges")]

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::super::blocks::BLOCK;
use super::super::resume_state::file_of;
use super::super::tests::{BODY, Scene, Turn};
use super::*;
use crate::options::VerifyMode;
use crate::route::FileName;

const FILE: &str = "h:1/files/f";
/// A file whose rest can be received in ranges, with a short last block.
const SIZE: u64 = MIN_SIZE + 3 * BLOCK + 5;
const BLOCKS: u64 = SIZE.div_ceil(BLOCK);

fn content() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let mut content = vec![0; SIZE as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        content
    })
}

fn target(folder: &Path) -> Arc<TargetPath> {
    Arc::new(TargetPath::of(folder, &FileName::new(b"f").unwrap()).unwrap())
}

fn source(size: u64) -> ResumeSource {
    ResumeSource { file: FILE.to_owned(), size, validator: Validator::Etag("\"e\"".to_owned()) }
}

fn bytes(blocks: &Range<u64>) -> Range<u64> {
    blocks.start * BLOCK..(blocks.end * BLOCK).min(SIZE)
}

/// Returns the tree of some ranges of blocks.
fn tree(blocks: &[Range<u64>]) -> HashTree {
    let mut tree = HashTree::new(SIZE).unwrap();
    for range in blocks.iter().map(bytes) {
        let mut blocks = Blocks::new(SIZE, range.start).unwrap();
        blocks.update(&content()[range.start as usize..range.end as usize]);
        tree.absorb(blocks.tree).unwrap();
    }
    tree
}

/// Leaves a partial file with this content and resume point in a folder.
fn leave(folder: &Path, size: u64, content: &[u8], resume_point: &ResumePoint) {
    let Ok(ClaimResult::Ours(part)) = PartialFile::open(&target(folder), SIZE, false, 0) else { panic!("not ours") };
    part.file().write_all_at(content, 0).unwrap();
    part.record(&source(size), resume_point).unwrap();
}

/// Leaves a partial file with these ranges of blocks, and other bytes between them.
fn leave_ranges(folder: &Path, blocks: &[Range<u64>], hashed: bool) -> Vec<u8> {
    let mut found = vec![0; SIZE as usize];
    let ranges: Vec<_> = blocks.iter().map(bytes).collect();
    for range in &ranges {
        let range = range.start as usize..range.end as usize;
        found[range.clone()].copy_from_slice(&content()[range]);
    }
    let received = if hashed { ReceivedRanges::of_tree(tree(blocks)) } else { ReceivedRanges { tree: None, ranges } };
    leave(folder, SIZE, &found, &resume_point(received.tree.as_ref(), &received.ranges));
    found
}

fn find(folder: &Path, algorithm: Option<Algorithm>) -> EarlierDownload {
    ResumeCandidate::find(&target(folder), 0, Some(FILE), algorithm, &|| false).unwrap()
}

fn usable(folder: &Path, algorithm: Option<Algorithm>) -> (ResumeCandidate, Option<&'static str>) {
    match find(folder, algorithm) {
        EarlierDownload::Usable(candidate, lost) => (candidate, lost),
        other => panic!("{other:?}"),
    }
}

fn useless(folder: &Path, algorithm: Option<Algorithm>) -> &'static str {
    match find(folder, algorithm) {
        EarlierDownload::Unusable(candidate, Some(why)) if candidate.stale => why,
        other => panic!("{other:?}"),
    }
}

fn digest_of(algorithm: Algorithm, content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(content);
    hasher.finish()
}

fn set_length(folder: &Path, length: u64) {
    File::options().write(true).open(folder.join("f.part")).unwrap().set_len(length).unwrap();
}

fn length(candidate: &ResumeCandidate) -> u64 {
    candidate.part.file().metadata().unwrap().len()
}

#[test]
fn ranges_of_an_earlier_run_are_verified_and_complete_the_file() {
    for blocks in [vec![0..4, 7..9, BLOCKS - 1..BLOCKS], vec![3..5, 8..9], vec![0..BLOCKS], vec![0..1]] {
        let folder = tempfile::tempdir().unwrap();
        leave_ranges(folder.path(), &blocks, true);
        let (candidate, lost) = usable(folder.path(), Some(Algorithm::Blake3));
        let ranges: Vec<_> = blocks.iter().map(bytes).collect();
        let beginning = ranges.first().filter(|range| range.start == 0).map_or(0, |range| range.end);
        assert_eq!((candidate.offset, lost, candidate.source.as_ref()), (beginning, None, Some(&source(SIZE))));
        assert_eq!(candidate.bytes(), ranges.iter().map(|range| range.end - range.start).sum::<u64>());
        assert_eq!(length(&candidate), ranges.last().unwrap().end, "bytes behind the last range");
        let so_far = digest_of(Algorithm::Blake3, &content()[..beginning as usize]);
        assert_eq!(candidate.hasher.map(Hasher::finish), Some(so_far));
        let received = candidate.received.unwrap();
        assert_eq!(received.ranges, ranges);
        let mut whole = received.tree.unwrap();
        assert_eq!(whole.ranges(), ranges);
        let missing: Vec<_> = (0..BLOCKS).filter(|block| !blocks.iter().any(|range| range.contains(block))).collect();
        for block in missing {
            whole.absorb(tree(&[block..block + 1])).unwrap();
        }
        assert_eq!(whole.root(), Some(digest_of(Algorithm::Blake3, content())));
    }
}

#[test]
fn an_altered_range_is_received_again() {
    let blocks = [0..2, 4..6, 8..10];
    for (altered, left) in [(1, vec![1, 2]), (5 * BLOCK, vec![0, 2]), (10 * BLOCK - 1, vec![0, 1])] {
        let folder = tempfile::tempdir().unwrap();
        let mut found = leave_ranges(folder.path(), &blocks, true);
        found[altered as usize] ^= 1;
        // The digests are compared even if none is wanted of the whole.
        for algorithm in [Some(Algorithm::Blake3), Some(Algorithm::Sha256), None] {
            std::fs::write(folder.path().join("f.part"), &found).unwrap();
            let (candidate, lost) = usable(folder.path(), algorithm);
            let ranges: Vec<_> = left.iter().map(|number: &usize| bytes(&blocks[*number])).collect();
            let (offset, end) = (if left[0] == 0 { 2 * BLOCK } else { 0 }, ranges[1].end);
            assert_eq!((candidate.offset, length(&candidate), lost), (offset, end, Some(NO_MATCH)), "{altered}");
            let received = candidate.received.unwrap();
            assert_eq!((&received.ranges, received.tree.is_some()), (&ranges, algorithm.is_some()));
            let so_far = algorithm.map(|algorithm| digest_of(algorithm, &content()[..offset as usize]));
            assert_eq!(candidate.hasher.map(Hasher::finish), so_far);
        }
    }
}

#[test]
fn a_file_without_any_intact_range_is_useless() {
    let folder = tempfile::tempdir().unwrap();
    leave_ranges(folder.path(), &[1..3, 5..6], true);
    std::fs::write(folder.path().join("f.part"), vec![1; SIZE as usize]).unwrap();
    assert_eq!(useless(folder.path(), Some(Algorithm::Blake3)), NO_MATCH);
    let folder = tempfile::tempdir().unwrap();
    leave_ranges(folder.path(), &[1..3, 5..6], true);
    set_length(folder.path(), 3 * BLOCK - 1);
    assert_eq!(useless(folder.path(), Some(Algorithm::Blake3)), TOO_SHORT);
}

#[test]
fn ranges_without_digests_are_used_without_verification_alone() {
    let folder = tempfile::tempdir().unwrap();
    leave_ranges(folder.path(), &[0..2, 4..6, 8..9], false);
    assert_eq!(useless(folder.path(), Some(Algorithm::Blake3)), NEVER_HASHED);
    for (cut, ranges, lost) in [
        (SIZE, vec![0..2, 4..6, 8..9], None),
        (8 * BLOCK + 5, vec![0..2, 4..6], Some(TOO_SHORT)),
        (6 * BLOCK - 1, vec![0..2, 4..5], Some(TOO_SHORT)),
        (2 * BLOCK, vec![0..2], Some(TOO_SHORT)),
    ] {
        set_length(folder.path(), cut);
        let (candidate, found) = usable(folder.path(), None);
        let ranges: Vec<_> = ranges.iter().map(bytes).collect();
        assert_eq!((candidate.hasher.is_none(), candidate.offset, found), (true, 2 * BLOCK, lost), "{cut}");
        assert_eq!(length(&candidate), ranges.last().unwrap().end);
        let received = candidate.received.unwrap();
        assert_eq!((received.ranges, received.tree.is_none()), (ranges, true));
    }
}

#[test]
fn a_beginning_can_be_completed_in_ranges() {
    let recorded = 5 * BLOCK + 7;
    let prefix = |algorithm| ResumePoint::Prefix {
        offset: recorded,
        digest: Some(digest_of(algorithm, &content()[..recorded as usize])),
    };
    let leave = |size: u64, resume_point: &ResumePoint| {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), size, &content()[..recorded as usize + 9], resume_point);
        folder
    };
    for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
        let folder = leave(SIZE, &prefix(algorithm));
        let (candidate, lost) = usable(folder.path(), Some(Algorithm::Blake3));
        assert_eq!((candidate.offset, length(&candidate), lost), (5 * BLOCK, 5 * BLOCK, None));
        let so_far = digest_of(Algorithm::Blake3, &content()[..5 * BLOCK as usize]);
        assert_eq!(candidate.hasher.map(Hasher::finish), Some(so_far));
        let received = candidate.received.unwrap();
        assert_eq!(received.tree.unwrap().digests(), tree(&[0..5]).digests());
        // SHA-256 continues in order, to the byte.
        let folder = leave(SIZE, &prefix(algorithm));
        let (candidate, _) = usable(folder.path(), Some(Algorithm::Sha256));
        assert_eq!((candidate.offset, length(&candidate), candidate.received.is_none()), (recorded, recorded, true));
        // So does a small file.
        let folder = leave(MIN_SIZE - 1, &prefix(algorithm));
        let (candidate, _) = usable(folder.path(), Some(Algorithm::Blake3));
        assert_eq!((candidate.offset, length(&candidate), candidate.received.is_none()), (recorded, recorded, true));
        let so_far = digest_of(Algorithm::Blake3, &content()[..recorded as usize]);
        assert_eq!(candidate.hasher.map(Hasher::finish), Some(so_far));
        let folder = leave(SIZE, &prefix(algorithm));
        let (candidate, _) = usable(folder.path(), None);
        let received = candidate.received.unwrap();
        assert_eq!((candidate.offset, received.ranges.len(), received.tree.is_none()), (5 * BLOCK, 1, true));
    }
    let folder = leave(SIZE, &ResumePoint::Prefix { offset: recorded, digest: None });
    let (candidate, _) = usable(folder.path(), None);
    let ranges = candidate.received.unwrap().ranges;
    assert_eq!((candidate.offset, ranges.len(), ranges[0].clone()), (5 * BLOCK, 1, 0..5 * BLOCK));
    // Bytes after the last whole block count for the digest as well.
    let folder = leave(SIZE, &prefix(Algorithm::Blake3));
    let mut altered = content()[..recorded as usize].to_vec();
    altered[5 * BLOCK as usize] ^= 1;
    std::fs::write(folder.path().join("f.part"), altered).unwrap();
    assert_eq!(useless(folder.path(), Some(Algorithm::Blake3)), NO_MATCH);
}

#[test]
fn kept_ranges_are_found_again() {
    for (blocks, hashed) in [(vec![0..2, 5..7], true), (vec![1..3], true), (vec![1..3, 9..10], false)] {
        let folder = tempfile::tempdir().unwrap();
        leave_ranges(folder.path(), &blocks, hashed);
        let algorithm = hashed.then_some(Algorithm::Blake3);
        for _ in 0..2 {
            let (candidate, lost) = usable(folder.path(), algorithm);
            // As a transfer over several connections leaves it.
            let candidate = ResumeCandidate { hasher: None, ..candidate };
            let ranges: Vec<_> = blocks.iter().map(bytes).collect();
            assert_eq!((&candidate.received.as_ref().unwrap().ranges, lost), (&ranges, None));
            let candidate = candidate.restore().unwrap();
            assert!(candidate.keep().resumable);
        }
    }
}

#[test]
fn parts_that_were_completed_in_one_piece_are_hashed() {
    let folder = tempfile::tempdir().unwrap();
    leave_ranges(folder.path(), &[0..BLOCKS], true);
    let (candidate, _) = usable(folder.path(), Some(Algorithm::Blake3));
    // As if several connections had failed, and a server that sends no ranges had then sent the same version.
    let candidate = ResumeCandidate { hasher: None, received: None, source: None, offset: SIZE, ..candidate };
    for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
        assert_eq!(candidate.digest(algorithm, &|| false).unwrap(), digest_of(algorithm, content()));
    }
}

#[tokio::test]
async fn ranges_of_another_version_are_discarded() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"2\"\r\n\r\n", BODY.len());
    let reply = format!("{head}{}", std::str::from_utf8(BODY).unwrap());
    let mut scene = Scene::http(vec![Turn::Send(reply)]).await;
    scene.job.verify = VerifyMode::Skip;
    let target = Arc::new(TargetPath::of(scene.folder.path(), &scene.job.route.file).unwrap());
    let Ok(ClaimResult::Ours(part)) = PartialFile::open(&target, SIZE, false, 0) else { panic!("not ours") };
    part.file().write_all_at(content(), 0).unwrap();
    let source = ResumeSource { file: file_of(&scene.job.route), ..source(SIZE) };
    let range = RecordedRange { from: BLOCK, to: 3 * BLOCK, digest: None };
    part.record(&source, &ResumePoint::Ranges(vec![range])).unwrap();
    drop(part);
    // The beginning is missing, so the request has no condition.
    scene.fetch().await.unwrap();
    let why = scene.progress.borrow().started_over.clone();
    assert!(why.is_some_and(|why| why.as_str().contains("changed")));
    assert_eq!(scene.read("f.bin"), BODY, "bytes of the older, longer version were left");
}

#[test]
fn nothing_is_resumable_without_a_whole_block() {
    let folder = tempfile::tempdir().unwrap();
    leave_ranges(folder.path(), &[1..3], false);
    let (candidate, _) = usable(folder.path(), None);
    candidate.part.clear_resume_point();
    let received = Some(ReceivedRanges { tree: None, ranges: vec![BLOCK + 1..3 * BLOCK - 1] });
    let kept = ResumeCandidate { received, ..candidate }.keep();
    assert!(kept.file.is_some() && !kept.resumable);
}

#[test]
fn reading_ranges_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    leave_ranges(folder.path(), &[0..2, 5..7], true);
    let found = ResumeCandidate::find(&target(folder.path()), 0, Some(FILE), Some(Algorithm::Blake3), &|| true);
    assert!(matches!(found, Err(Error::Interrupted { kept: KeptBytes { resumable: true, .. } })), "{found:?}");
    assert_eq!(usable(folder.path(), Some(Algorithm::Blake3)).0.bytes(), 4 * BLOCK);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a killed program leaves, the ranges that are used hold the file's bytes.
    #[test]
    fn only_intact_ranges_are_used(
        bounds in prop::collection::btree_set(0..=BLOCKS, 2..8),
        altered in prop::collection::vec(0..SIZE, 0..3),
        cut in 0..=2 * SIZE,
        sha256 in any::<bool>(),
    ) {
        let bounds: Vec<u64> = bounds.into_iter().collect();
        let blocks: Vec<_> = bounds.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut found = leave_ranges(folder.path(), &blocks, true);
        for at in &altered {
            found[*at as usize] ^= 0x10;
        }
        found.truncate(cut as usize);
        std::fs::write(folder.path().join("f.part"), &found).unwrap();
        let is_intact = |range: &Range<u64>| {
            let range = range.start as usize..range.end as usize;
            found.get(range.clone()) == Some(&content()[range])
        };
        let intact: Vec<_> = blocks.iter().map(bytes).filter(is_intact).collect();
        let algorithm = if sha256 { Algorithm::Sha256 } else { Algorithm::Blake3 };
        match find(folder.path(), Some(algorithm)) {
            EarlierDownload::Usable(candidate, lost) => {
                prop_assert_eq!(lost.is_some(), intact.len() < blocks.len());
                prop_assert_eq!(length(&candidate), intact.last().unwrap().end);
                let so_far = digest_of(algorithm, &content()[..candidate.offset as usize]);
                prop_assert_eq!(candidate.hasher.map(Hasher::finish), Some(so_far));
                let received = candidate.received.unwrap();
                prop_assert_eq!(&received.ranges, &intact);
                prop_assert_eq!(received.tree.unwrap().ranges(), intact);
            }
            EarlierDownload::Unusable(candidate, Some(NO_MATCH | TOO_SHORT)) => {
                prop_assert!(candidate.stale && intact.is_empty());
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
