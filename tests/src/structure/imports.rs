//! Reads what one file imports.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// The paths that a file names; each begins with `crate` or with another crate's name.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) paths: BTreeSet<Vec<String>>,
    /// Names that it re-exports, and where each comes from.
    pub(super) reexports: BTreeMap<String, Vec<String>>,
    pub(super) macros: BTreeSet<String>,
    /// The module that is being read, which may be an inline module of the file.
    module: Vec<String>,
    /// Child modules; a path may begin with one of these.
    children: BTreeSet<String>,
}

impl File {
    pub(super) fn new(module: &[String], parsed: &syn::File) -> Self {
        let children = parsed.items.iter().filter_map(|item| match item {
            Item::Mod(child) => Some(child.ident.to_string()),
            _ => None,
        });
        let mut file =
            Self { module: module.to_vec(), children: children.collect(), ..Self::default() };
        file.visit_file(parsed);
        file
    }

    /// `path` written from the crate's root, or from another crate.
    fn absolute(&self, path: &[String]) -> Vec<String> {
        let mut base = self.module.clone();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("self") => rest = &path[1..],
            Some("super") => {
                while let Some((first, tail)) = rest.split_first()
                    && first == "super"
                {
                    base.pop();
                    rest = tail;
                }
            }
            Some(first) if self.children.contains(first) => {}
            _ => return path.to_vec(),
        }
        let crate_root = std::iter::once("crate".to_owned());
        crate_root.chain(base).chain(rest.iter().cloned()).collect()
    }

    fn add_use(&mut self, tree: &UseTree, prefix: &[String], handed_on: bool) {
        let step = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&path.tree, &step(&path.ident), handed_on),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_use(tree, prefix, handed_on));
            }
            UseTree::Name(name) if name.ident == "self" => self.add(prefix),
            UseTree::Name(name) => {
                self.add_name(&step(&name.ident), name.ident.to_string(), handed_on);
            }
            UseTree::Rename(renamed) => {
                self.add_name(&step(&renamed.ident), renamed.rename.to_string(), handed_on);
            }
            UseTree::Glob(_) => self.add(prefix),
        }
    }

    fn add_name(&mut self, path: &[String], name: String, handed_on: bool) {
        if handed_on {
            self.reexports.insert(name, self.absolute(path));
        } else {
            self.add(path);
        }
    }

    fn add(&mut self, path: &[String]) {
        self.paths.insert(self.absolute(path));
    }
}

impl<'ast> Visit<'ast> for File {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            let handed_on = !matches!(item.vis, Visibility::Inherited);
            self.add_use(&item.tree, &[], handed_on);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let steps: Vec<_> = path.segments.iter().map(|step| step.ident.to_string()).collect();
            self.add(&steps);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        if let Some(name) = invoked.path.segments.last() {
            self.macros.insert(name.ident.to_string());
        }
        visit::visit_macro(self, invoked);
    }

    // Attributes such as `#[derive(x::Y)]` are not imports.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// Whether an item is for tests only: it has `#[test]` or `#[cfg(test)]`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test"))
    })
}
