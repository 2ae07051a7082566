"""One partition per mailbox, named by its address."""

import dagster as dg

mailboxes = dg.DynamicPartitionsDefinition(name="mailboxes")


def partitions_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[str]:
    """The addresses a run was started for; none where it names no partition."""
    if context.has_partition_key or context.has_partition_key_range:
        return list(context.partition_keys)
    return []
