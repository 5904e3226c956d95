use super::MemoryCatalog;
use async_trait::async_trait;
use keepsake_domain::{FencingToken, Timestamp};
use keepsake_steps::ports::{CatalogError, Lease, Leases};
use std::time::Duration;

fn after(now: Timestamp, ttl: Duration) -> Timestamp {
    now.checked_add(ttl).expect("tests stay within the calendar")
}

#[async_trait]
impl Leases for MemoryCatalog {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, CatalogError> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some((lease, is_released)) = state.leases.get_mut(name) {
            let is_held = !*is_released && lease.expires_at > now;
            if is_held && lease.holder == holder {
                lease.expires_at = lease.expires_at.max(after(now, ttl));
                return Ok(lease.clone());
            }
            if is_held {
                let (holder, expires_at) = (lease.holder.clone(), lease.expires_at);
                return Err(CatalogError::Held { name: name.to_owned(), holder, expires_at });
            }
        }
        let token = FencingToken(state.newest_token.map_or(1, |newest| newest.0 + 1));
        state.newest_token = Some(token);
        let lease =
            Lease { name: name.to_owned(), holder: holder.to_owned(), token, expires_at: after(now, ttl) };
        state.leases.insert(name.to_owned(), (lease.clone(), false));
        Ok(lease)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), CatalogError> {
        let now = self.clock.now();
        match self.state().leases.get_mut(&lease.name) {
            // One that ran out is lost, also if nobody took it.
            Some((held, false))
                if held.token == lease.token && held.holder == lease.holder && held.expires_at > now =>
            {
                held.expires_at = held.expires_at.max(after(now, ttl));
                Ok(())
            }
            _ => Err(CatalogError::Fenced { name: lease.name.clone(), token: lease.token }),
        }
    }

    async fn release(&self, name: &str, holder: &str, token: FencingToken) -> Result<(), CatalogError> {
        if let Some((lease, is_released)) = self.state().leases.get_mut(name)
            && lease.holder == holder
            && lease.token == token
        {
            *is_released = true;
        }
        Ok(())
    }
}
