//! BLAKE3 of a file whose bytes arrive in any order: the chaining values of its blocks, merged to the digest of the
//! whole.
//!
//! BLAKE3 is a binary tree over chunks of 1024 bytes, and a block is a subtree of it. So every connection hashes its
//! own bytes as they arrive, and no byte is read again for the digest. `blake3::hazmat` panics on offsets and lengths
//! that are not those of subtrees: here they all follow from the file's size and the number of a block.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::wire::{Algorithm, Digest};

/// Bytes that are hashed to one chaining value. A power of two times 1024, as subtrees require. Received bytes count
/// once their block is complete, so a failed connection loses less than this. Blocks of this size cost 1 % more CPU
/// time than one hasher over the whole file, a quarter of it 4 %.
pub(super) const BLOCK: u64 = 256 * 1024;

/// Smallest file that is received in parts: a smaller one takes less than the second that a step is evaluated for.
pub(super) const MIN_SIZE: u64 = 4 << 20;

/// Hashes the bytes of one connection, which begin with a block.
#[derive(Debug)]
pub(super) struct BlockHasher {
    /// Size of the file.
    size: u64,
    /// Offset of the next byte.
    offset: u64,
    /// Of the bytes of the current block; boxed, because its state is two kilobytes.
    hasher: Box<blake3::Hasher>,
}

/// The chaining value of a block of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HashedBlock {
    /// Size of the file.
    size: u64,
    /// Number of the block, from 0.
    index: u64,
    value: ChainingValue,
}

/// The blocks of a file that have been hashed. Subtrees are merged as soon as they are complete, so that memory grows
/// with the number of separate ranges, not with their length.
#[derive(Clone, Debug)]
pub(super) struct HashTree {
    size: u64,
    /// Number of blocks in the file, at least two.
    blocks: u64,
    /// Height of the root's two children: nodes of this height are merged by `root` alone.
    top: u32,
    /// The largest complete subtrees, by the number of their first block. They do not overlap.
    nodes: BTreeMap<u64, Node>,
}

/// A complete subtree.
#[derive(Clone, Debug)]
struct Node {
    /// It has the blocks of a subtree of 2^height blocks that are within the file.
    height: u32,
    value: ChainingValue,
}

/// Why blocks were not added to a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockRefused {
    /// They belong to a file of another size.
    OtherSize,
    /// The tree has one of them. Its bytes may differ from those that were hashed first, so that the tree would prove
    /// others than the disk holds if the new ones were written.
    Present,
}

/// A digest of a range of a file, which depends on the place of the range in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RangeDigest(blake3::Hash);

/// Returns the offset behind a block of a file of this size.
fn block_end(size: u64, index: u64) -> u64 {
    index.saturating_add(1).saturating_mul(BLOCK).min(size)
}

/// Returns a hasher for a block.
fn hasher_of(index: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index * BLOCK);
    hasher
}

impl BlockHasher {
    /// Creates a hasher of the bytes from an offset of a file; `None` if no block begins there.
    pub(super) fn new(size: u64, offset: u64) -> Option<Self> {
        let is_start = offset.is_multiple_of(BLOCK) && offset < size;
        is_start.then(|| Self { size, offset, hasher: Box::new(hasher_of(offset / BLOCK)) })
    }

    /// Adds the next bytes, and appends the blocks that they complete to `done`. Bytes behind the file's end are
    /// ignored.
    pub(super) fn update(&mut self, mut bytes: &[u8], done: &mut Vec<HashedBlock>) {
        while !bytes.is_empty() && self.offset < self.size {
            let index = self.offset / BLOCK;
            let end = block_end(self.size, index);
            let missing = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(missing));
            self.hasher.update(now);
            self.offset += now.len() as u64;
            bytes = later;
            if self.offset == end {
                done.push(HashedBlock { size: self.size, index, value: self.hasher.finalize_non_root() });
                if self.offset < self.size {
                    *self.hasher = hasher_of(index + 1);
                }
            }
        }
    }
}

impl HashTree {
    /// Creates the tree of a file without its blocks; `None` for a file of one block, which has no subtrees to merge.
    pub(super) fn new(size: u64) -> Option<Self> {
        let blocks = size.div_ceil(BLOCK);
        // The left child has the largest power of two of blocks that leaves at least one for the right child.
        (blocks >= 2).then(|| Self { size, blocks, top: (blocks - 1).ilog2(), nodes: BTreeMap::new() })
    }

    /// Adds a block.
    ///
    /// # Errors
    /// The tree is unchanged if it has the block, or the block belongs to a file of another size.
    pub(super) fn add(&mut self, block: &HashedBlock) -> Result<(), BlockRefused> {
        self.check(block.size, block.index, 0)?;
        self.insert(block.index, 0, block.value);
        Ok(())
    }

    /// Adds all blocks of another tree.
    ///
    /// # Errors
    /// The tree is unchanged if it has one of the blocks, or they belong to a file of another size.
    pub(super) fn absorb(&mut self, other: Self) -> Result<(), BlockRefused> {
        other.nodes.iter().try_for_each(|(first, node)| self.check(other.size, *first, node.height))?;
        other.nodes.into_iter().for_each(|(first, node)| self.insert(first, node.height, node.value));
        Ok(())
    }

    /// Returns the bytes of the blocks in the tree: ranges in ascending order that do not touch each other.
    pub(super) fn ranges(&self) -> Vec<Range<u64>> {
        self.runs().into_iter().map(|run| self.bytes(&run.blocks)).collect()
    }

    /// Returns the ranges with their digests: BLAKE3 of the chaining values of the largest subtrees in a range.
    pub(super) fn digests(&self) -> Vec<(Range<u64>, RangeDigest)> {
        self.runs().into_iter().map(|run| (self.bytes(&run.blocks), RangeDigest(run.hasher.finalize()))).collect()
    }

    /// Returns the digest of the whole file; `None` while blocks are missing.
    pub(super) fn root(&self) -> Option<Digest> {
        let (left, right) = (self.nodes.get(&0)?, self.nodes.get(&(1 << self.top))?);
        let complete = left.height == self.top && right.height == self.top;
        complete.then(|| Digest {
            algorithm: Algorithm::Blake3,
            value: merge_subtrees_root(&left.value, &right.value, Mode::Hash).into(),
        })
    }

    /// Checks whether a subtree can be added.
    fn check(&self, size: u64, first: u64, height: u32) -> Result<(), BlockRefused> {
        if size != self.size {
            return Err(BlockRefused::OtherSize);
        }
        let before = self.nodes.range(..self.end(first, height)).next_back();
        if before.is_some_and(|(start, node)| self.end(*start, node.height) > first) {
            return Err(BlockRefused::Present);
        }
        Ok(())
    }

    /// Adds a subtree that does not overlap another, and merges it with its sibling while that is complete.
    fn insert(&mut self, mut first: u64, mut height: u32, mut value: ChainingValue) {
        while height < self.top {
            let sibling = first ^ (1 << height);
            // A left child whose right sibling would be behind the file's end takes the place of its parent.
            if sibling < self.blocks {
                let found = match self.nodes.entry(sibling) {
                    Entry::Occupied(found) if found.get().height == height => found.remove().value,
                    _ => break,
                };
                let (left, right) = if sibling < first { (found, value) } else { (value, found) };
                value = merge_subtrees_non_root(&left, &right, Mode::Hash);
                first = first.min(sibling);
            }
            height += 1;
        }
        self.nodes.insert(first, Node { height, value });
    }

    /// Returns the number of the first block behind a subtree.
    fn end(&self, first: u64, height: u32) -> u64 {
        (first + (1 << height)).min(self.blocks)
    }

    /// Joins subtrees without a gap between them.
    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (first, node) in &self.nodes {
            let end = self.end(*first, node.height);
            if let Some(run) = runs.last_mut().filter(|run| run.blocks.end == *first) {
                run.blocks.end = end;
                run.hasher.update(&node.value);
            } else {
                let mut hasher = Box::<blake3::Hasher>::default();
                hasher.update(&node.value);
                runs.push(Run { blocks: *first..end, hasher });
            }
        }
        runs
    }

    fn bytes(&self, blocks: &Range<u64>) -> Range<u64> {
        blocks.start * BLOCK..block_end(self.size, blocks.end - 1)
    }
}

/// Subtrees without a gap between them.
struct Run {
    blocks: Range<u64>,
    /// Of their chaining values.
    hasher: Box<blake3::Hasher>,
}

impl fmt::Display for RangeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RangeDigest {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests;
