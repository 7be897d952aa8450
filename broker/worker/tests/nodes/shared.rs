//! Shared subscriptions whose members are on several nodes.

use super::*;

#[test]
fn each_message_of_a_shared_group_reaches_exactly_one_member_wherever_it_is() {
    for seed in 0..10 {
        let mut world = World::new(seed, 3, 2);
        let members: Vec<_> = (0..6).map(|number| world.connect(1 + number % 2, &format!("member-{number}"))).collect();
        for member in &members {
            world.subscribe(*member, "$share/workers/job/+", QoS::ExactlyOnce);
        }
        world.settle();
        let publishers: Vec<_> = (0..3).map(|node| world.connect(node, &format!("publisher-{node}"))).collect();
        for number in 0..90 {
            world.publish(publishers[number % 3], &format!("job/{number}"), &number.to_string(), QOS[number / 3 % 3]);
            if number % 10 == 0 {
                world.settle();
            }
        }
        world.settle();
        let mut got: Vec<usize> = members
            .iter()
            .flat_map(|member| world.clients[*member].payloads())
            .map(|payload| payload.parse().expect("a number was published"))
            .collect();
        got.sort_unstable();
        assert_eq!(got, (0..90).collect::<Vec<_>>(), "seed {seed}");
        let shares: Vec<_> = members.iter().map(|member| world.clients[*member].payloads().len()).collect();
        assert!(shares.iter().all(|share| *share > 5), "seed {seed}: every member works: {shares:?}");
    }
}

#[test]
fn the_members_of_a_shared_group_on_one_node_take_equal_turns() {
    let mut world = World::new(20, 1, 2);
    let members: Vec<_> = (0..4).map(|number| world.connect(0, &format!("member-{number}"))).collect();
    members.iter().for_each(|member| world.subscribe(*member, "$share/workers/job", QoS::AtMostOnce));
    world.settle();
    let publisher = world.connect(0, "publisher");
    for number in 0..40 {
        world.publish(publisher, "job", &number.to_string(), QoS::AtMostOnce);
    }
    world.settle();
    let shares: Vec<_> = members.iter().map(|member| world.clients[*member].payloads().len()).collect();
    assert_eq!(shares, [10; 4]);
}

#[test]
fn an_absent_member_of_a_shared_group_takes_nothing_while_another_node_has_a_connected_one() {
    let mut world = World::new(18, 2, 1);
    let keep = |connect: fulmar_codec::Connect<'static>| fulmar_codec::Connect { session_expiry: 600, ..connect };
    let absent = world.connect_with(0, "absent", keep);
    world.subscribe(absent, "$share/workers/job", QoS::AtLeastOnce);
    world.settle();
    world.vanish(absent);
    let publisher = world.connect(0, "publisher");
    world.publish(publisher, "job", "waits for the only member", QoS::AtLeastOnce);
    world.settle();
    let present = world.connect(1, "present");
    world.subscribe(present, "$share/workers/job", QoS::AtLeastOnce);
    world.settle();
    for number in 0..5 {
        world.publish(publisher, "job", &number.to_string(), QoS::AtLeastOnce);
    }
    world.settle();
    assert_eq!(world.clients[present].payloads(), ["0", "1", "2", "3", "4"]);
    world
        .reconnect_client(absent, 0, "absent", |connect| fulmar_codec::Connect { clean_start: false, ..keep(connect) });
    assert_eq!(world.clients[absent].payloads(), ["waits for the only member"]);
}

#[test]
fn absent_members_of_a_shared_group_get_its_messages_when_the_last_present_one_has_left() {
    let keep = |connect: fulmar_codec::Connect<'static>| fulmar_codec::Connect {
        clean_start: false,
        session_expiry: 600,
        ..connect
    };
    for leaves in [|world: &mut World, client| world.unsubscribe(client, "$share/workers/job"), World::vanish] {
        let mut world = World::new(21, 2, 2);
        let ids = ["absent-1", "absent-2", "absent-3"];
        let absent = ids.map(|id| world.connect_with(0, id, keep));
        // The last one ends with its connection.
        let present = world.connect(0, "present");
        for member in absent.into_iter().chain([present]) {
            world.subscribe(member, "$share/workers/job", QoS::AtLeastOnce);
        }
        world.settle();
        absent.iter().for_each(|client| world.vanish(*client));
        leaves(&mut world, present);
        world.settle();
        for node in 0..2 {
            let publisher = world.connect(node, &format!("publisher-{node}"));
            for number in 0..3 {
                world.publish(publisher, "job", &format!("{node} {number}"), QoS::AtLeastOnce);
            }
            world.settle();
        }
        let mut got = Vec::new();
        for (client, id) in absent.into_iter().zip(ids) {
            world.reconnect_client(client, 0, id, keep);
            let payloads = world.clients[client].payloads();
            assert_eq!(payloads.len(), 2, "{id} had its turns");
            got.extend(payloads.into_iter().map(str::to_owned));
        }
        got.sort_unstable();
        assert_eq!(got, ["0 0", "0 1", "0 2", "1 0", "1 1", "1 2"]);
        // They are all there again.
        let publisher = world.connect(1, "publisher");
        world.publish(publisher, "job", "last", QoS::AtMostOnce);
        world.settle();
        let last = absent.iter().filter(|client| world.clients[**client].payloads().contains(&"last")).count();
        assert_eq!(last, 1);
    }
}
