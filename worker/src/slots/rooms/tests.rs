//! Lines of several tenants before one room.

use super::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

mod stories;

const A: TenantIndex = TenantIndex(0);
const B: TenantIndex = TenantIndex(1);

type Waiting = BoxFuture<'static, Option<Share>>;

fn room(free: usize, weights: &[u32]) -> Arc<Room> {
    Arc::new(Room::new(free, weights))
}

/// Somebody who has taken his place in the line, unless he is inside at once.
fn stands(room: &Arc<Room>, tenant: TenantIndex) -> Waiting {
    let room = Arc::clone(room);
    let mut waiting = async move { room.enter(tenant).await }.boxed();
    assert!((&mut waiting).now_or_never().is_none(), "there is no room");
    waiting
}

fn enters(room: &Arc<Room>, tenant: TenantIndex) -> Share {
    let entered = room.enter(tenant).now_or_never();
    entered.expect("there is room").expect("it is open")
}

fn inside(waiting: &mut Waiting) -> Option<Share> {
    waiting.now_or_never().flatten()
}

#[test]
fn what_becomes_free_is_shared_by_weight_and_within_a_tenant_by_who_came_first() {
    let room = room(1, &[3, 1]);
    let mut share = enters(&room, A);
    let mut lines: Vec<(usize, Waiting)> = (0..12)
        .map(|_| (0, stands(&room, A)))
        .chain((0..12).map(|_| (1, stands(&room, B))))
        .collect();
    let mut order = Vec::new();
    for _ in 0..12 {
        drop(share);
        let called: Vec<(usize, Share)> = lines
            .iter_mut()
            .enumerate()
            .filter_map(|(place, (_, waiting))| Some((place, inside(waiting)?)))
            .collect();
        let [(place, next)] = <[_; 1]>::try_from(called).expect("one at a time");
        let (tenant, _) = lines.remove(place);
        let earlier = lines
            .iter()
            .take(place)
            .filter(|(other, _)| *other == tenant);
        assert_eq!(earlier.count(), 0, "somebody of that tenant came first");
        order.push(tenant);
        share = next;
    }
    assert_eq!(
        order.iter().filter(|tenant| **tenant == 0).count(),
        9,
        "{order:?}"
    );
}

#[test]
fn a_tenant_alone_has_all_the_room_and_who_comes_later_does_not_wait_for_more_than_one() {
    let room = room(4, &[1, 1]);
    let held: Vec<Share> = (0..4).map(|_| enters(&room, A)).collect();
    let mut more: Vec<Waiting> = (0..4).map(|_| stands(&room, A)).collect();
    let mut late = stands(&room, B);
    let mut shares = held.into_iter();
    let mut freed = 0;
    let its = loop {
        drop(shares.next().expect("it waits for more than there were"));
        freed += 1;
        if let Some(share) = inside(&mut late) {
            break share;
        }
    };
    assert!(freed <= 2, "{freed}");
    let called: Vec<Share> = more.iter_mut().filter_map(inside).collect();
    assert_eq!(called.len(), freed - 1);
    drop(its);
}

#[test]
fn whoever_stops_waiting_costs_nobody_room() {
    let room = room(1, &[1, 1]);
    let share = enters(&room, A);
    let gone = stands(&room, A);
    let called = stands(&room, A);
    let mut stays = stands(&room, B);
    drop(gone);
    drop(share);
    let first = inside(&mut stays);
    // One of the two has been called. If it is the one that never looks, dropping it calls the other.
    drop(called);
    let share = first
        .or_else(|| inside(&mut stays))
        .expect("it is his turn");
    drop(share);
    enters(&room, A);
}

#[test]
fn a_closed_room_lets_nobody_in_and_nobody_wait() {
    let room = room(1, &[1]);
    let share = enters(&room, A);
    let mut waiting = stands(&room, A);
    room.close();
    assert!((&mut waiting).now_or_never().expect("it ends").is_none());
    drop(waiting);
    drop(share);
    assert!(room.enter(A).now_or_never().expect("it ends").is_none());
}
