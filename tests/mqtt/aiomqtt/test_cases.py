"""Every case of aiomqtt's own tests holds for our client with its interface: in our words, named here.

The names are those of its repository on 2026-04-24. Some cases are several of ours.
"""

from tests.support.project import TESTS
from tests.test_named_tests import names_in

ACKNOWLEDGING = "test_acknowledging.py"
ITERATING = "test_iterating.py"
LIFE = "test_life.py"
PUBLISHING = "test_publishing.py"
PUBLISHING_AFTER_LOSS = "test_publishing_after_loss.py"
SUBSCRIBING = "test_subscribing.py"
TLS = "test_tls.py"

CASES: dict[str, tuple[str, str]] = {
    "test_aenter_reusable": (LIFE, "test_it_is_entered_again_after_it_was_left"),
    "test_aenter_reusable_invalid_hostname": (
        LIFE,
        "test_a_name_that_is_not_known_is_the_resolver_s_error_each_time",
    ),
    "test_aenter_reusable_negative_connack": (
        LIFE,
        "test_an_authentication_method_that_the_broker_does_not_know_is_refused_each_time",
    ),
    "test_aenter_not_reentrant": (LIFE, "test_it_is_not_entered_twice_at_once"),
    "test_aenter_tls": (TLS, "test_a_context_that_trusts_the_broker_lets_in"),
    "test_aenter_tls_missing": (TLS, "test_a_client_without_tls_gets_no_connection_where_tls_is_spoken"),
    "test_aenter_tls_untrusted_certificate": (TLS, "test_a_certificate_that_is_not_trusted_is_the_error_of_tls"),
    "test_aenter_auth": (LIFE, "test_a_password_lets_in_and_another_does_not"),
    "test_aenter_auth_invalid_password": (LIFE, "test_a_password_lets_in_and_another_does_not"),
    "test_aexit_no_prior_aenter": (LIFE, "test_leaving_what_was_not_entered_does_nothing"),
    "test_aexit_consecutive_calls": (LIFE, "test_leaving_twice_does_nothing"),
    "test_aexit_last_will": (LIFE, "test_an_exception_has_the_broker_publish_the_will"),
    "test_background_reconnection": (LIFE, "test_it_connects_again_after_an_end_and_after_nonsense"),
    "test_message_iterator_concurrency": (ITERATING, "test_two_tasks_that_wait_get_a_message_each"),
    "test_message_iterator_disconnected": (ITERATING, "test_iterating_without_a_connection_is_an_error"),
    "test_publish_qos0_no_matching_subscribers": (PUBLISHING, "test_a_message_of_qos_0_has_no_answer"),
    "test_publish_qos1_no_matching_subscribers": (
        PUBLISHING,
        "test_an_answer_that_nobody_is_subscribed_is_a_success",
    ),
    "test_publish_qos2_no_matching_subscribers": (
        PUBLISHING,
        "test_an_answer_that_nobody_is_subscribed_is_a_success",
    ),
    "test_publish_disconnected_qos0": (PUBLISHING, "test_publishing_without_a_connection_is_an_error_at_once"),
    "test_publish_disconnected_qos1": (PUBLISHING, "test_publishing_without_a_connection_is_an_error_at_once"),
    "test_publish_disconnected_qos2": (PUBLISHING, "test_publishing_without_a_connection_is_an_error_at_once"),
    "test_publish_retry_qos1": (PUBLISHING_AFTER_LOSS, "test_a_retry_with_qos_1_gets_the_answer"),
    "test_publish_retry_qos2": (PUBLISHING_AFTER_LOSS, "test_a_retry_with_qos_2_gets_both_answers"),
    "test_publish_flow_control_qos1": (
        PUBLISHING,
        "test_a_broker_that_takes_no_more_is_waited_for_but_not_with_qos_0",
    ),
    "test_publish_flow_control_qos2": (
        PUBLISHING,
        "test_a_broker_that_takes_no_more_is_waited_for_but_not_with_qos_0",
    ),
    "test_publish_unsolicited_ack": (PUBLISHING, "test_an_acknowledgement_of_nothing_is_ignored"),
    "test_puback_disconnected": (ACKNOWLEDGING, "test_acknowledging_without_a_connection_is_an_error"),
    "test_pubrec_disconnected": (ACKNOWLEDGING, "test_acknowledging_without_a_connection_is_an_error"),
    "test_pubrel_disconnected": (PUBLISHING, "test_releasing_without_a_connection_is_an_error_at_once"),
    "test_pubcomp_disconnected": (ACKNOWLEDGING, "test_acknowledging_without_a_connection_is_an_error"),
    "test_subscribe": (SUBSCRIBING, "test_what_is_published_to_a_subscription_comes"),
    "test_subscribe_multiple": (SUBSCRIBING, "test_several_filters_are_asked_for_at_once"),
    "test_subscribe_empty": (SUBSCRIBING, "test_nothing_to_ask_for_is_refused"),
    "test_subscribe_disconnected": (SUBSCRIBING, "test_asking_without_a_connection_is_an_error"),
    "test_subscribe_unsolicited_ack": (SUBSCRIBING, "test_an_answer_to_nothing_is_ignored"),
    "test_unsubscribe": (SUBSCRIBING, "test_what_a_subscription_ends_no_longer_comes"),
    "test_unsubscribe_multiple": (SUBSCRIBING, "test_several_filters_are_asked_for_at_once"),
    "test_unsubscribe_empty": (SUBSCRIBING, "test_nothing_to_ask_for_is_refused"),
    "test_unsubscribe_nonexistent_subscription": (
        SUBSCRIBING,
        "test_the_end_of_a_subscription_that_there_was_not_is_a_success",
    ),
    "test_unsubscribe_disconnected": (SUBSCRIBING, "test_asking_without_a_connection_is_an_error"),
    "test_unsubscribe_unsolicited_ack": (SUBSCRIBING, "test_an_answer_to_nothing_is_ignored"),
    "test_broker_disconnect": (LIFE, "test_a_disconnect_of_the_broker_is_not_answered"),
}


def test_every_case_is_a_test_of_ours() -> None:
    assert len(CASES) == 42
    folder = TESTS / "mqtt" / "aiomqtt"
    assert {name: test for name, test in CASES.items() if test[1] not in names_in(folder / test[0])} == {}
