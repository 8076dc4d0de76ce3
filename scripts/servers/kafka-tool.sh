#!/usr/bin/env bash
# Runs one of Kafka's own tools.
#
# usage: kafka-tool.sh NAME|CLASS [args...]
#   NAME: topics consumer-perf producer-perf console-consumer console-producer groups configs dump-log offsets
#         reassign leader-election api-versions quorum delete-records transactions storage
# Environment: KAFKA_LIB (the jars; default: kafka-install.sh's), KAFKA_TOOL_HEAP (512m), KAFKA_LOGLEVEL (WARN), JAVA.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || usage
name=$1
shift
t=org.apache.kafka.tools
case $name in
topics) c=$t.TopicCommand ;;
consumer-perf) c=$t.ConsumerPerformance ;;
producer-perf) c=$t.ProducerPerformance ;;
console-consumer) c=$t.consumer.ConsoleConsumer ;;
console-producer) c=$t.ConsoleProducer ;;
groups) c=$t.consumer.group.ConsumerGroupCommand ;;
configs) c=kafka.admin.ConfigCommand ;;
dump-log) c=$t.DumpLogSegments ;;
offsets) c=$t.GetOffsetShell ;;
reassign) c=$t.reassign.ReassignPartitionsCommand ;;
leader-election) c=$t.LeaderElectionCommand ;;
api-versions) c=$t.BrokerApiVersionsCommand ;;
quorum) c=$t.MetadataQuorumCommand ;;
delete-records) c=$t.DeleteRecordsCommand ;;
transactions) c=$t.TransactionsCommand ;;
storage) c=kafka.tools.StorageTool ;;
*) c=$name ;;
esac
lib=${KAFKA_LIB:-$("$here/kafka-install.sh")}
exec "${JAVA:-java}" "-Xmx${KAFKA_TOOL_HEAP:-512m}" -cp "$lib/*" \
	"-Dlog4j2.configurationFile=$here/log4j2.properties" -Dkafka.loglevel="${KAFKA_LOGLEVEL:-WARN}" "$c" "$@"
