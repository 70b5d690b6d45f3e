use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_site_comes_before_the_head_dimension() {
    let r = TableRegistry::new();
    r.register(8, marked(8, None, 1)).unwrap();
    assert!(r.register_at("layer0", marked(8, None, 2)).is_none());
    let mark = |d, site| r.get(d, site).map(|t| t.record().samples);
    assert_eq!(mark(8, None), Some(1));
    assert_eq!(mark(8, Some("layer0")), Some(2));
    assert_eq!(mark(8, Some("layer1")), Some(1));
    assert_eq!(mark(16, Some("layer0")), None);
    assert!(r.has(8) && !r.has(16));
    assert_eq!(r.register(8, marked(8, None, 3)).unwrap().unwrap().record().samples, 1);
    r.clear();
    assert!(!r.has(8) && mark(8, Some("layer0")).is_none());
}

#[test]
fn a_table_of_another_dimension_is_refused() {
    let r = TableRegistry::new();
    assert_eq!(r.register(16, marked(8, None, 1)), Err(WrongHead { table: 8, asked: 16 }));
    assert!(r.snapshot().is_empty());
}

#[test]
fn a_table_at_a_site_does_not_serve_others() {
    let r = TableRegistry::new();
    r.register_at("layer0", marked(8, None, 1));
    assert!(!r.has(8) && r.get(8, None).is_none() && r.get(8, Some("layer1")).is_none());
}

#[test]
fn a_snapshot_stays_and_is_shared_until_a_change() {
    let r = TableRegistry::new();
    r.register_all([marked(8, None, 1), marked(8, Some("a"), 2)]);
    let (one, two) = (r.snapshot(), r.snapshot());
    assert_eq!((one.len(), one.generation()), (2, two.generation()));
    r.clear();
    assert_eq!(one.get(8, Some("a")).unwrap().record().samples, 2);
    assert_eq!(one.get(8, Some("b")).unwrap().record().samples, 1);
    let after = r.snapshot();
    assert!(after.is_empty() && after.generation() > one.generation());
}

#[test]
fn the_global_registry_answers() {
    // Of a dimension that no other test uses.
    register_attention_table(12, marked(12, None, 1)).unwrap();
    assert!(has_attention_table(12));
    assert_eq!(global_registry().get(12, None).unwrap().d_head(), 12);
    clear_attention_cache();
    assert!(!has_attention_table(12));
}

/// Eight threads register, clear, look up and take snapshots. Tables registered together are always seen
/// together, one registered after another never without it, and a lookup gives what its key says.
#[test]
fn eight_threads_get_right_answers() {
    let r = TableRegistry::new();
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    // Enough of them that two writers would mix if they could.
    let sites: Vec<String> = (0..64).map(|i| format!("layer{i}")).collect();
    let chain: Vec<String> = (0..64).map(|i| format!("chain{i}")).collect();
    let made: Vec<AttentionTable> = sites.iter().map(|site| marked(8, Some(site), 0)).collect();
    let together = |mark| {
        made.iter().cloned().map(move |t| match t {
            AttentionTable::Product(t, record) => AttentionTable::Product(t, Record { samples: mark, ..record }),
            AttentionTable::Palette(..) => unreachable!("product tables were made"),
        })
    };
    std::thread::scope(|scope| {
        for t in 0..8u64 {
            let (r, stop, sites, chain, made, together) = (&r, &stop, &sites, &chain, &made, &together);
            scope.spawn(move || {
                let mut last = 0;
                for i in 0u64.. {
                    if stop.load(Ordering::Relaxed) {
                        assert!(i > 10, "thread {t} starved");
                        return;
                    }
                    match t {
                        0 | 1 => r.register_all(together(t << 32 | i)),
                        2 => {
                            for (site, table) in chain.iter().zip(made) {
                                let AttentionTable::Product(t, _) = table else { continue };
                                let record = Record { samples: i, ..Record::default() };
                                r.register_at(site, AttentionTable::Product(t.clone(), record));
                            }
                        }
                        3 => r.clear(),
                        4 => drop(r.register(24, marked(24, None, i)).unwrap()),
                        5 => {
                            for (d, site) in [(8, Some("layer5")), (24, None), (8, Some("chain9"))] {
                                if let Some(t) = r.get(d, site) {
                                    assert_eq!(t.d_head(), d);
                                }
                            }
                        }
                        _ => {
                            let s = r.snapshot();
                            let mark = |d, site| s.get(d, Some(site)).map(|t| t.record().samples);
                            assert!(sites.iter().all(|site| mark(8, site) == mark(8, "layer0")));
                            // Whatever was cleared in between, none is newer than one registered before it.
                            let marks: Vec<u64> = chain.iter().filter_map(|site| mark(8, site)).collect();
                            assert!(marks.is_sorted_by(|a, b| a >= b), "{marks:?}");
                            assert!(s.generation() >= last);
                            last = s.generation();
                        }
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(1500));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(start.elapsed() < Duration::from_secs(60));
}
