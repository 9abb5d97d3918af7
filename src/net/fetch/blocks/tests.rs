//! Tests of the hash tree: against the digest of the whole, in any order, at the edges of sizes.

#![expect(clippy::single_range_in_vec_init, reason = "the lists are lists of ranges")]

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

/// Most blocks of a file whose bytes are hashed here: several levels of the tree, complete and not.
const MAX_BLOCKS: u64 = 17;

/// Returns bytes that differ from block to block and from chunk to chunk.
fn content(size: u64) -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    let whole = CONTENT.get_or_init(|| {
        let mut whole = vec![0; (MAX_BLOCKS * BLOCK) as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut whole);
        whole
    });
    &whole[..size as usize]
}

/// Returns the blocks in a range of the file, hashed in pieces of these lengths in turn.
fn hashed(size: u64, range: Range<u64>, pieces: &[usize]) -> Vec<HashedBlock> {
    let mut hasher = BlockHasher::new(size, range.start).unwrap();
    let (mut done, mut at, mut pieces) = (Vec::new(), range.start as usize, pieces.iter().cycle());
    while at < range.end as usize {
        let end = (at + pieces.next().unwrap()).min(range.end as usize);
        hasher.update(&content(size)[at..end], &mut done);
        at = end;
        assert_eq!(hasher.offset, at as u64);
    }
    done
}

fn expected(size: u64) -> Digest {
    Digest { algorithm: Algorithm::Blake3, value: blake3::hash(content(size)).into() }
}

/// Returns the chaining value of blocks by the definition of BLAKE3.
fn chaining_value(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(values.len().div_ceil(2).next_power_of_two());
    merge_subtrees_non_root(&chaining_value(left), &chaining_value(right), Mode::Hash)
}

/// Returns the digest of blocks by the definition of BLAKE3.
fn definition(values: &[ChainingValue]) -> [u8; 32] {
    let (left, right) = values.split_at(values.len().div_ceil(2).next_power_of_two());
    merge_subtrees_root(&chaining_value(left), &chaining_value(right), Mode::Hash).into()
}

/// Returns the sort key of a block in an arbitrary order.
fn shuffled(order: u64, index: u64) -> [u8; 32] {
    blake3::hash(&[order.to_le_bytes(), index.to_le_bytes()].concat()).into()
}

fn made_up(blocks: u64) -> Vec<ChainingValue> {
    (0..blocks).map(|index| *blake3::hash(&index.to_le_bytes()).as_bytes()).collect()
}

fn block(size: u64, index: u64, value: ChainingValue) -> HashedBlock {
    HashedBlock { size, index, value }
}

#[test]
fn the_digest_is_that_of_the_whole_at_every_size() {
    for blocks in 2..=MAX_BLOCKS {
        for last in [1, 1023, 1024, 1025, BLOCK / 2, BLOCK / 2 + 1, BLOCK - 1, BLOCK] {
            let size = (blocks - 1) * BLOCK + last;
            let mut hashed = hashed(size, 0..size, &[usize::MAX >> 1]);
            assert_eq!(hashed.len() as u64, blocks);
            // First the odd blocks, from the end, so that every kind of gap occurs.
            hashed.sort_by_key(|block| (block.index.is_multiple_of(2), u64::MAX - block.index));
            let mut tree = HashTree::new(size).unwrap();
            for block in &hashed {
                assert_eq!(tree.root(), None);
                tree.add(block).unwrap();
            }
            assert_eq!((tree.root(), tree.ranges()), (Some(expected(size)), vec![0..size]), "{size}");
        }
    }
}

#[test]
fn a_file_of_one_block_has_no_tree() {
    for size in [0, 1, 1024, BLOCK - 1, BLOCK] {
        assert!(HashTree::new(size).is_none(), "{size}");
    }
    assert!(HashTree::new(BLOCK + 1).is_some());
}

#[test]
fn hashing_begins_with_a_block_inside_the_file() {
    let size = 2 * BLOCK + 1;
    for offset in [1, 1024, BLOCK - 1, BLOCK + 1024, 3 * BLOCK, u64::MAX, u64::MAX - BLOCK + 1] {
        assert!(BlockHasher::new(size, offset).is_none(), "{offset}");
    }
    assert!(BlockHasher::new(0, 0).is_none() && BlockHasher::new(BLOCK, BLOCK).is_none());
    let mut done = Vec::new();
    let mut hasher = BlockHasher::new(size, 2 * BLOCK).unwrap();
    hasher.update(&content(MAX_BLOCKS * BLOCK)[2 * BLOCK as usize..], &mut done);
    assert_eq!((hasher.offset, &done), (size, &hashed(size, 2 * BLOCK..size, &[1])), "bytes behind the end counted");
}

#[test]
fn a_block_counts_when_it_is_complete() {
    let size = 3 * BLOCK + 5;
    assert_eq!(hashed(size, 0..BLOCK - 1, &[1000]), []);
    assert_eq!(hashed(size, BLOCK..3 * BLOCK - 1, &[1000]).len(), 1);
    assert_eq!(hashed(size, 3 * BLOCK..size - 1, &[1]), []);
    assert_eq!(hashed(size, 3 * BLOCK..size, &[1]).len(), 1);
}

#[test]
fn blocks_that_are_present_or_of_another_size_are_refused() {
    let size = 5 * BLOCK;
    let blocks = hashed(size, 0..size, &[1 << 20]);
    let mut tree = HashTree::new(size).unwrap();
    for index in [1, 0, 3, 4] {
        tree.add(&blocks[index]).unwrap();
    }
    for index in [0, 1, 3, 4] {
        let other = block(size, index, [7; 32]);
        assert_eq!(tree.add(&other), Err(BlockRefused::Present), "{index}");
    }
    for other in [size - 1, size + 1] {
        assert_eq!(tree.add(&block(other, 2, [7; 32])), Err(BlockRefused::OtherSize));
        let mut another = HashTree::new(other).unwrap();
        another.add(&block(other, 2, [7; 32])).unwrap();
        assert_eq!(tree.absorb(another), Err(BlockRefused::OtherSize));
    }
    for present in [0, 1, 3, 4] {
        let mut other = HashTree::new(size).unwrap();
        other.add(&blocks[2]).unwrap();
        other.add(&blocks[present]).unwrap();
        assert_eq!(tree.absorb(other), Err(BlockRefused::Present), "{present}");
    }
    assert_eq!(tree.ranges(), [0..2 * BLOCK, 3 * BLOCK..size], "a refused tree was added in part");
    tree.add(&blocks[2]).unwrap();
    assert_eq!(tree.root(), Some(expected(size)));
}

#[test]
fn the_largest_file_overflows_nothing() {
    let last = u64::MAX / BLOCK;
    let mut tree = HashTree::new(u64::MAX).unwrap();
    for index in [last, 0, last - 1, 1] {
        tree.add(&block(u64::MAX, index, [1; 32])).unwrap();
    }
    assert_eq!((tree.ranges(), tree.root()), (vec![0..2 * BLOCK, (last - 1) * BLOCK..u64::MAX], None));
    let mut hasher = BlockHasher::new(u64::MAX, last * BLOCK).unwrap();
    let mut done = Vec::new();
    hasher.update(content(BLOCK), &mut done);
    assert_eq!((hasher.offset, done.len()), (u64::MAX, 1));
}

#[test]
fn contiguous_blocks_take_little_memory() {
    let (size, blocks) = (1_000 * BLOCK - 1, 1_000);
    let mut tree = HashTree::new(size).unwrap();
    for (index, value) in (0..).zip(made_up(blocks)) {
        tree.add(&block(size, index, value)).unwrap();
        assert!(tree.nodes.len() <= 10, "{} nodes for {} blocks", tree.nodes.len(), index + 1);
    }
    assert_eq!(tree.nodes.len(), 2);
}

#[test]
fn a_range_digest_depends_on_content_and_place() {
    let size = 8 * BLOCK;
    let digests = |blocks: &[(u64, u8)]| {
        let mut tree = HashTree::new(size).unwrap();
        for (index, value) in blocks {
            tree.add(&block(size, *index, [*value; 32])).unwrap();
        }
        tree.digests().into_iter().map(|(_, digest)| digest.to_string()).collect::<Vec<_>>()
    };
    let one = digests(&[(1, 1), (2, 2), (3, 3)]);
    assert_eq!((one.len(), &one), (1, &digests(&[(3, 3), (1, 1), (2, 2)])));
    for other in [&[(1, 1), (2, 2), (3, 4)], &[(1, 2), (2, 1), (3, 3)], &[(2, 1), (3, 2), (4, 3)]] {
        assert_ne!(one, digests(other), "{other:?}");
    }
    assert_eq!(digests(&[(1, 1), (2, 2), (3, 3), (6, 6)]), [one[0].clone(), digests(&[(6, 6)])[0].clone()]);
    let digest: RangeDigest = one[0].parse().unwrap();
    assert_eq!(digest.to_string(), one[0]);
    for bad in ["", &one[0][1..], &format!("{}0", one[0]), &format!("g{}", &one[0][1..])] {
        assert!(bad.parse::<RangeDigest>().is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Connections of any ranges receive pieces of any lengths, and their blocks arrive in any order.
    #[test]
    fn the_digest_is_that_of_the_whole_in_any_order(
        size in BLOCK + 1..=MAX_BLOCKS * BLOCK,
        starts in prop::collection::btree_set(0..MAX_BLOCKS, 0..8),
        pieces in prop::collection::vec(1_usize..3 * BLOCK as usize, 1..5),
        order in any::<u64>(),
        repeated in any::<prop::sample::Index>(),
    ) {
        let starts = starts.into_iter().map(|block| block * BLOCK).filter(|start| (1..size).contains(start));
        let starts: Vec<u64> = std::iter::once(0).chain(starts).chain([size]).collect();
        let mut blocks: Vec<_> =
            starts.windows(2).flat_map(|pair| hashed(size, pair[0]..pair[1], &pieces)).collect();
        blocks.sort_by_key(|block| shuffled(order, block.index));
        let repeated = blocks[repeated.index(blocks.len())].clone();
        let mut tree = HashTree::new(size).unwrap();
        for block in &blocks {
            prop_assert_eq!(tree.root(), None);
            prop_assert_eq!(tree.add(block), Ok(()));
        }
        prop_assert_eq!(tree.add(&repeated), Err(BlockRefused::Present));
        prop_assert_eq!(tree.root(), Some(expected(size)));
        prop_assert_eq!(tree.ranges(), vec![0..size]);
    }
}

proptest! {
    /// Trees of a range each, and blocks one by one, make the same tree: ranges, digests and root.
    #[test]
    fn equals_a_set_of_blocks(
        count in 2_u64..300,
        last in 1..=BLOCK,
        order in any::<u64>(),
        taken in 0.0..1.2,
        split in any::<u64>(),
    ) {
        let (size, values) = ((count - 1) * BLOCK + last, made_up(count));
        let mut order: Vec<u64> = {
            let mut all: Vec<u64> = (0..count).collect();
            all.sort_by_key(|index| shuffled(order, *index));
            all
        };
        order.truncate((count as f64 * taken) as usize);
        let add = |tree: &mut HashTree, index: u64| tree.add(&block(size, index, values[index as usize]));
        let mut tree = HashTree::new(size).unwrap();
        let (mut one, mut other) = (HashTree::new(size).unwrap(), HashTree::new(size).unwrap());
        let mut sorted = HashTree::new(size).unwrap();
        for index in &order {
            prop_assert_eq!(add(&mut tree, *index), Ok(()));
            prop_assert_eq!(add(&mut tree, *index), Err(BlockRefused::Present));
            prop_assert_eq!(add(if split >> (index % 64) & 1 == 0 { &mut one } else { &mut other }, *index), Ok(()));
        }
        order.sort_unstable();
        for index in &order {
            prop_assert_eq!(add(&mut sorted, *index), Ok(()));
        }
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for index in &order {
            let range = index * BLOCK..((index + 1) * BLOCK).min(size);
            match ranges.last_mut().filter(|before| before.end == range.start) {
                Some(before) => before.end = range.end,
                None => ranges.push(range),
            }
        }
        prop_assert_eq!(&tree.ranges(), &ranges);
        prop_assert_eq!(tree.digests(), sorted.digests());
        // A range alone has the same digest: that is how it is checked when a fetch resumes.
        for (range, digest) in tree.digests() {
            let mut alone = HashTree::new(size).unwrap();
            for index in range.start / BLOCK..range.end.div_ceil(BLOCK) {
                prop_assert_eq!(add(&mut alone, index), Ok(()));
            }
            prop_assert_eq!(alone.digests(), vec![(range, digest)]);
        }
        let complete = (order.len() as u64 == count)
            .then(|| Digest { algorithm: Algorithm::Blake3, value: definition(&values) });
        prop_assert_eq!(tree.root(), complete);
        prop_assert_eq!(one.absorb(other), Ok(()));
        prop_assert_eq!((one.root(), one.digests()), (tree.root(), tree.digests()));
    }
}
