//! The environment: whose mistake is named, and what counts as a word.
