//! What must never happen, over generated histories: rollouts keep what they promised, and replica sets
//! never delete below what is wanted. Every history also converges once everything works.

#[path = "safety/world.rs"]
#[expect(clippy::expect_used, reason = "a test: a world that cannot be built is a failure")]
mod world;

use proptest::prelude::*;
use world::World;

/// One thing that may happen; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Deployment,
    Set(usize),
    PodReady(usize),
    PodGone(usize),
    Template(u8),
    Tick(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Deployment),
        10 => (0_usize..4).prop_map(Step::Set),
        10 => (0_usize..20).prop_map(Step::PodReady),
        6 => (0_usize..20).prop_map(Step::PodGone),
        1 => (0_u8..3).prop_map(Step::Template),
        2 => (0_u16..20).prop_map(Step::Tick),
    ];
    prop::collection::vec(step, 1..100)
}

/// A number or a percentage, and what it comes to.
fn fencepost() -> impl Strategy<Value = String> {
    prop_oneof![(0..4).prop_map(|n: i32| n.to_string()), (0..100).prop_map(|n: i32| format!("{n}%"))]
}

fn apply(world: &mut World, step: &Step) {
    match step {
        Step::Deployment => world.reconcile_deployment(),
        Step::Set(index) => world.reconcile_set(*index),
        Step::PodReady(index) => world.pod_becomes_ready(*index),
        Step::PodGone(index) => world.terminating_pod_goes(*index),
        Step::Template(version) => world.set_template(*version),
        Step::Tick(seconds) => world.tick(i64::from(*seconds)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rolling_updates_keep_their_promise(
        wanted in 0_i32..12,
        surge in fencepost(),
        missing in fencepost(),
        min_ready in prop_oneof![Just(0), Just(7)],
        steps in steps(),
    ) {
        let mut world = World::new(wanted, &surge, &missing, min_ready);
        world.converge();
        let (max_total, min_available) = world.bounds();
        for step in &steps {
            apply(&mut world, step);
            prop_assert!(world.total_wanted() <= max_total, "{} > {max_total} after {step:?}", world.total_wanted());
            prop_assert!(
                world.available() >= min_available,
                "{} available < {min_available} after {step:?}", world.available()
            );
        }
        world.converge();
        prop_assert_eq!(world.problem(), None);
    }

    #[test]
    fn scaling_amid_a_rollout_converges(
        sizes in prop::collection::vec(0_i32..15, 1..5),
        surge in fencepost(),
        missing in fencepost(),
        steps in steps(),
    ) {
        let mut world = World::new(5, &surge, &missing, 0);
        world.converge();
        let chunk = steps.len() / sizes.len() + 1;
        for (size, steps) in sizes.iter().zip(steps.chunks(chunk)) {
            world.set_replicas(*size);
            steps.iter().for_each(|step| apply(&mut world, step));
        }
        world.converge();
        prop_assert_eq!(world.problem(), None);
    }
}

#[test]
fn recreate_never_mixes_templates() {
    let mut world = World::new(3, "25%", "25%", 0);
    world.recreate();
    world.converge();
    world.set_template(7);
    for round in 0..40 {
        world.reconcile_deployment();
        (0..3).for_each(|index| world.reconcile_set(index));
        assert!(world.templates_running() <= 1, "two templates run in round {round}");
        world.terminating_pod_goes(round);
        world.pod_becomes_ready(round);
    }
    world.converge();
    assert_eq!(world.problem(), None);
}

/// A rollout under way becomes Recreate and gets another size at once.
#[test]
fn a_change_of_strategy_and_size_amid_a_rollout_converges() {
    let mut world = World::new(6, "50%", "0", 0);
    world.converge();
    world.set_template(7);
    for step in [Step::Deployment, Step::Set(0), Step::Set(1), Step::PodReady(0), Step::Deployment] {
        apply(&mut world, &step);
    }
    world.recreate();
    world.set_replicas(4);
    world.converge();
    assert_eq!(world.problem(), None);
}
