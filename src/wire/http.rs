//! HTTP heads.
