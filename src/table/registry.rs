//! Which tables there are, for plans to find.

use super::attention_table::AttentionTable;
use dashmap::DashMap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

/// Head dimension and, for a table of one attention only, its site.
type Key = (usize, Option<Arc<str>>);

/// The table given is for heads of another dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a table for heads of {table} dims cannot be registered for {asked}")]
pub struct WrongHead {
    /// The head dimension that the table is for.
    pub table: usize,
    /// The head dimension that it was to be registered for.
    pub asked: usize,
}

/// Tables by head dimension and, optionally, site.
///
/// All methods may be called from any thread at any time. A single lookup sees the newest table; whoever needs
/// several that belong together takes a [`snapshot`](Self::snapshot).
///
/// A writer holds the gate shared while it changes one entry, so writers do not wait for each other; a snapshot, and
/// what changes several entries, holds it alone. A snapshot is thus the state between two changes. The gate
/// is always taken before an entry's shard, and nothing of the caller's runs under it, so there is no deadlock.
#[derive(Debug)]
pub struct TableRegistry {
    /// Tells snapshots of different registries apart.
    number: u64,
    tables: DashMap<Key, Arc<AttentionTable>>,
    gate: RwLock<()>,
    /// The newest snapshot, dropped by every change under the gate, so that unchanged tables are not copied again.
    newest: Mutex<Newest>,
}

#[derive(Debug, Default)]
struct Newest {
    generation: u64,
    tables: Option<Tables>,
}

/// The tables that a registry held at one moment.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    tables: Arc<HashMap<Key, Arc<AttentionTable>>>,
    /// Of which registry, for caches of plans of traces.
    #[cfg_attr(not(feature = "burn"), allow(dead_code))]
    registry: u64,
    generation: u64,
}

impl Default for TableRegistry {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, tables: DashMap::new(), gate: RwLock::new(()), newest: Mutex::default() }
    }
}

impl TableRegistry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `table` that of all heads of `d_head` dims whose site has none; returns the one it replaces.
    ///
    /// # Errors
    /// If it is for another head dimension.
    pub fn register(&self, d_head: usize, table: AttentionTable) -> Result<Option<Arc<AttentionTable>>, WrongHead> {
        if table.d_head() != d_head {
            return Err(WrongHead { table: table.d_head(), asked: d_head });
        }
        Ok(self.insert((d_head, None), table))
    }

    /// Makes `table` that of the attention named `site`; returns the one it replaces.
    pub fn register_at(&self, site: &str, table: AttentionTable) -> Option<Arc<AttentionTable>> {
        self.insert((table.d_head(), Some(site.into())), table)
    }

    /// Registers each table at its own site, or for its head dimension if it has none. No snapshot sees a part.
    pub fn register_all(&self, tables: impl IntoIterator<Item = AttentionTable>) {
        let tables: Vec<AttentionTable> = tables.into_iter().collect();
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        for table in tables {
            self.tables.insert((table.d_head(), table.site().map(Arc::from)), Arc::new(table));
        }
        self.changed();
    }

    fn insert(&self, key: Key, table: AttentionTable) -> Option<Arc<AttentionTable>> {
        let table = Arc::new(table);
        let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let before = self.tables.insert(key, table);
        self.changed();
        before
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called under the gate, after the change.
    fn changed(&self) {
        let mut newest = self.newest();
        newest.generation += 1;
        newest.tables = None;
    }

    /// The table for an attention of `d_head`: that of its site, else that of the head dimension.
    pub fn get(&self, d_head: usize, site: Option<&str>) -> Option<Arc<AttentionTable>> {
        find(d_head, site, |key| self.tables.get(key).map(|t| Arc::clone(&t)))
    }

    /// True if heads of `d_head` dims have a table wherever they are.
    pub fn has(&self, d_head: usize) -> bool {
        self.tables.contains_key(&(d_head, None))
    }

    /// Removes all.
    pub fn clear(&self) {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.tables.clear();
        self.changed();
    }

    /// All tables of this moment, which stay as they are.
    pub fn snapshot(&self) -> Tables {
        if let Some(tables) = &self.newest().tables {
            return tables.clone();
        }
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut newest = self.newest();
        let generation = newest.generation;
        let copy = || self.tables.iter().map(|e| (e.key().clone(), Arc::clone(e.value()))).collect();
        newest
            .tables
            .get_or_insert_with(|| Tables { tables: Arc::new(copy()), registry: self.number, generation })
            .clone()
    }
}

impl Tables {
    /// The table for an attention of `d_head`: that of its site, else that of the head dimension.
    pub fn get(&self, d_head: usize, site: Option<&str>) -> Option<&Arc<AttentionTable>> {
        find(d_head, site, |key| self.tables.get(key))
    }

    /// The name in graph text of the table for an attention of `d_head` at `site`: the site if it is its own, else `d64`
    /// for heads of 64 dims.
    pub fn name(&self, d_head: usize, site: &str) -> Option<String> {
        if self.tables.contains_key(&(d_head, Some(site.into()))) {
            return Some(site.into());
        }
        self.tables.contains_key(&(d_head, None)).then(|| of_head(d_head))
    }

    /// The table that graph text calls `name`, for heads of `d_head` dims.
    pub fn named(&self, d_head: usize, name: &str) -> Option<&Arc<AttentionTable>> {
        let own = self.tables.get(&(d_head, Some(name.into())));
        own.or_else(|| self.tables.get(&(d_head, None)).filter(|_| name == of_head(d_head)))
    }

    /// The key that tells these tables from any others of this process: equal pairs are equal tables.
    #[cfg(feature = "burn")]
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.registry, self.generation)
    }

    /// Number of tables.
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// True if there are no tables.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Changes that the registry had seen. Equal numbers of one registry are equal tables, so a plan made with these
    /// tables is current as long as a new snapshot has the same.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// The name in graph text of the table of a head dimension.
fn of_head(d_head: usize) -> String {
    format!("d{d_head}")
}

fn find<T>(d_head: usize, site: Option<&str>, get: impl Fn(&Key) -> Option<T>) -> Option<T> {
    let own = site.and_then(|site| get(&(d_head, Some(site.into()))));
    own.or_else(|| get(&(d_head, None)))
}

static GLOBAL: LazyLock<TableRegistry> = LazyLock::new(TableRegistry::new);

/// The registry of the process.
pub fn global_registry() -> &'static TableRegistry {
    &GLOBAL
}

/// [`TableRegistry::register`] on the registry of the process.
///
/// # Errors
/// If the table is for another head dimension.
pub fn register_attention_table(
    d_head: usize,
    table: AttentionTable,
) -> Result<Option<Arc<AttentionTable>>, WrongHead> {
    GLOBAL.register(d_head, table)
}

/// [`TableRegistry::has`] on the registry of the process.
pub fn has_attention_table(d_head: usize) -> bool {
    GLOBAL.has(d_head)
}

/// [`TableRegistry::clear`] on the registry of the process.
pub fn clear_attention_cache() {
    GLOBAL.clear();
}
