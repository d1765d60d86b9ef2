//! How many connections may be open: over all listeners, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::fit;
use crate::metrics::ProcessMetrics;

/// The count of open connections. Clones share it.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: AtomicUsize,
    per_ip: AtomicUsize,
    open: Mutex<Open>,
    metrics: Arc<ProcessMetrics>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
}

impl Connections {
    /// At most `max` in all and `per_ip` from one address.
    #[must_use]
    pub fn new(max: usize, per_ip: usize, metrics: Arc<ProcessMetrics>) -> Connections {
        let (max, per_ip) = (AtomicUsize::new(max), AtomicUsize::new(per_ip));
        Connections(Arc::new(Inner {
            max,
            per_ip,
            open: Mutex::default(),
            metrics,
        }))
    }

    /// Other limits from now on; what is open stays open.
    pub fn set_limits(&self, max: usize, per_ip: usize) {
        self.0.max.store(max, Ordering::Relaxed);
        self.0.per_ip.store(per_ip, Ordering::Relaxed);
    }

    /// Counts a connection until the permit is dropped; `None` when there are too many.
    #[must_use]
    pub fn admit(&self, ip: IpAddr) -> Option<Permit> {
        let ip = ip.to_canonical();
        let mut open = self.lock();
        let from_ip = open.by_ip.get(&ip).copied().unwrap_or(0);
        if open.all >= self.0.max.load(Ordering::Relaxed)
            || from_ip >= self.0.per_ip.load(Ordering::Relaxed)
        {
            drop(open);
            self.0.metrics.connections_refused.inc();
            return None;
        }
        open.all += 1;
        open.by_ip.insert(ip, from_ip + 1);
        drop(open);
        self.0.metrics.connections.inc();
        Some(Permit {
            connections: self.clone(),
            ip,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection.
#[derive(Debug)]
pub struct Permit {
    connections: Connections,
    ip: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.all -= 1;
        if let Some(count) = open.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.by_ip.remove(&self.ip);
                fit(&mut open.by_ip);
            }
        }
        drop(open);
        self.connections.0.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        let metrics = Arc::new(ProcessMetrics::default());
        let connections = Connections::new(3, 2, metrics.clone());
        let [a, mapped, b] = ["10.0.0.1", "::ffff:10.0.0.1", "::1"].map(|ip| ip.parse().unwrap());
        let first = connections.admit(a).unwrap();
        let _second = connections.admit(mapped).unwrap();
        assert!(connections.admit(a).is_none());
        let _third = connections.admit(b).unwrap();
        assert!(connections.admit(b).is_none());
        assert_eq!(
            (metrics.connections.get(), metrics.connections_refused.get()),
            (3, 2)
        );
        drop(first);
        let again = connections.admit(a).unwrap();
        connections.set_limits(9, 9);
        let _more = connections.admit(a).unwrap();
        drop(again);
        assert_eq!(metrics.connections.get(), 3);
    }
}
