//! Position in the files of a folder on the detail page of its transfer.

use crate::text::SafeText;

/// Position in the files of a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct FilesView {
    /// The details of a folder are shown.
    pub(super) shown: bool,
    /// Path of the selected file; `None` selects none.
    pub(super) selected: Option<SafeText>,
    /// Its last row: when it is listed no more, the file there is selected.
    pub(super) row: usize,
    /// The page is to be scrolled to the selected file.
    pub(super) follows: bool,
}
