//! What asks and what is told count against bounds: no less than they have as bytes.

use std::sync::Arc;

use fulmar_store::{Answer, Ask, Delivery, Destination, Message, Published, Recipients, Told, Wants};

use crate::letter::Written;

/// Numbers, lengths and places of lists: more than any ask or thing told has of them.
pub(crate) const HEAD: usize = 192;

/// An item of a list, beside its text.
const ITEM: usize = 16;

/// Of an ask.
pub(crate) fn of_ask(ask: &Ask) -> usize {
    HEAD + match ask {
        Ask::Claim { claim, .. } => {
            let will = claim.will.as_ref().map_or(0, |will| of_message(&will.message));
            claim.client.len() + of_text(claim.user.as_ref()) + will
        }
        Ask::Publish { published, .. } => of_published(published),
        Ask::ReceiveQos2 { client, published, destinations, .. } => {
            client.len() + of_published(published) + of_destinations(destinations)
        }
        Ask::Subscribe { client, subscriptions, .. } => {
            client.len() + subscriptions.iter().map(|(filter, _)| ITEM + filter.len()).sum::<usize>()
        }
        Ask::Unsubscribe { client, filters, .. } => {
            client.len() + filters.iter().map(|filter| ITEM + filter.len()).sum::<usize>()
        }
        Ask::Acknowledge { client, acks, .. } => client.len() + ITEM * acks.len(),
        Ask::Attach { client, .. }
        | Ask::Release { client, .. }
        | Ask::Disconnect { client, .. }
        | Ask::End { client, .. } => client.len(),
        Ask::WillDone { destinations, .. } => of_destinations(destinations),
        Ask::Adopted { .. } => 0,
    }
}

fn of_destinations(destinations: &[Destination]) -> usize {
    let of_each = |destination: &Destination| {
        ITEM + size_of::<Destination>() + if let Wants::Group(share) = &destination.wants { share.len() } else { 0 }
    };
    destinations.iter().map(of_each).sum()
}

/// Of something that a desk writes.
pub(crate) fn of_written(written: &Written) -> usize {
    match written {
        Written::Told(told) => of_told(told),
        Written::Welcome { .. } | Written::Refused { .. } => HEAD,
    }
}

/// Of something told.
pub(crate) fn of_told(told: &Told) -> usize {
    HEAD + match told {
        Told::Answer { answer: Answer::Claimed(session), .. } => {
            let subscriptions = session.subscriptions.iter().map(|(filter, _)| ITEM + filter.len()).sum::<usize>();
            subscriptions + ITEM * session.received.len()
        }
        Told::Deliver { deliveries, .. } => deliveries.iter().map(of_delivery).sum(),
        Told::Orphan { share, message, .. } => share.len() + of_message(message),
        Told::Will { pending, .. } => {
            pending.client.len() + of_text(pending.user.as_ref()) + of_message(&pending.will.message)
        }
        // Lists in replies are as long as those of what was asked, which were bounded there.
        Told::Answer { .. } | Told::TakenOver { .. } | Told::Ended { .. } => 0,
    }
}

fn of_delivery(delivery: &Delivery) -> usize {
    let Delivery { subscription_ids, message, .. } = delivery;
    3 * ITEM + size_of_val(&**subscription_ids) + message.as_ref().map_or(0, of_message)
}

fn of_published(published: &Published) -> usize {
    let Published { message, retain: _, to } = published;
    let recipients = match to {
        Recipients::Nobody => 0,
        Recipients::Matching { publisher } => of_text(publisher.as_ref()),
        Recipients::One { client, subscription_ids, share, .. } => {
            client.len() + of_text(share.as_ref()) + size_of_val(subscription_ids.as_slice())
        }
        Recipients::Group { group, filter } => group.len() + filter.len(),
    };
    of_message(message) + recipients
}

fn of_message(message: &Message) -> usize {
    2 * ITEM + usize::try_from(message.bytes()).unwrap_or(usize::MAX / 2)
}

fn of_text(text: Option<&Arc<str>>) -> usize {
    text.map_or(0, |text| text.len())
}
