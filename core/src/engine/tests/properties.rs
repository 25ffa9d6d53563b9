//! The engine against the model: random commands, while the tables lag behind, while what they have is forgotten, and while the
//! engine is now and then built anew from them.

use proptest::prelude::*;

use super::steps::a_step;
use super::world::World;

proptest! {
    #[test]
    fn the_engine_decides_as_the_model_does_whatever_it_has_forgotten_and_restored_it_goes_on_alike(
        steps in prop::collection::vec(a_step(), 1..200),
    ) {
        let mut world = World::opened();
        for step in steps {
            world.step(step);
        }
        world.come_to_rest();
    }
}
