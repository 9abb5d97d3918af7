//! Other ways to a file, as `--route` names them.

use super::{FileName, Route};

/// Another way to the file that the first route leads to.
///
/// Its name of the file may differ from that of the first route; it then leads to that file alone. If both have the
/// same name, it leads to the same other files, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRoute {
    /// The name that the first route has for the file.
    instead_of: FileName,
    route: Route,
}

impl OtherRoute {
    /// Creates another way to the file of the first route.
    pub fn new(first: &Route, route: Route) -> Self {
        Self { instead_of: first.file.clone(), route }
    }

    /// Returns the way to a file that is requested by this name over the first route; `None` if there is none, as for a
    /// folder, of which each file is received over one connection.
    pub fn to(&self, file: &FileName) -> Option<Route> {
        if file.names_folder() {
            return None;
        }
        if *file == self.instead_of {
            return Some(self.route.clone());
        }
        (self.route.file == self.instead_of).then(|| self.route.with_file(file.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_with_the_same_name_leads_to_other_files_too() {
        let route = |text: &str| Route::parse(text.as_bytes()).unwrap();
        let first = route("a.bin\nh1 1\n");
        let other = FileName::new(b"b.bin").unwrap();
        let same = OtherRoute::new(&first, route("a.bin\nh2 2\n"));
        assert_eq!(same.to(&first.file), Some(route("a.bin\nh2 2\n")));
        assert_eq!(same.to(&other), Some(route("b.bin\nh2 2\n")));
        let differs = OtherRoute::new(&first, route("mirror/a.bin\nh2 2\n"));
        assert_eq!(differs.to(&first.file), Some(route("mirror/a.bin\nh2 2\n")));
        assert_eq!(differs.to(&other), None);
        assert_eq!(same.to(&FileName::new(b"folder/").unwrap()), None);
    }
}
