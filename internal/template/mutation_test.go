package template

import (
	"slices"
	"strings"
	"testing"
)

// Mutations: each breaks one promise as a hurried edit would. Most pass every linter.
var mutations = []struct {
	promise, what string
	old, new      string // the first old after the line "in:" becomes new
	in            string
}{
	{"kept", "the key goes with the stack", "DeletionPolicy: Retain", "DeletionPolicy: Delete", "EncryptionKey"},
	{"kept", "a replaced table is deleted", "UpdateReplacePolicy: Retain", "UpdateReplacePolicy: Delete", "AccountsTable"},
	{"kept", "a table gets another logical id", "ConnectionsTable:", "ConnectionTable:", "ConnectionsTable"},
	{"kept", "a table gets a name", "BillingMode", "TableName: accounts\n      BillingMode", "AccountsTable"},
	{"tables", "a table gets another key", "AttributeName: account,", "AttributeName: id,", "AccountsTable"},
	{"tables", "no point-in-time recovery", "PointInTimeRecoveryEnabled: true", "PointInTimeRecoveryEnabled: false", "ConnectionsTable"},
	{"tables", "no deletion protection", "DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false", "AccountsTable"},
	{"tables", "the index copies whole rows", "INCLUDE, NonKeyAttributes: [since]", "ALL", "ConnectionsTable"},
	{"secrets", "a known signing secret", `{"signing_secrets":[]}`, `{"signing_secrets":["change-me"]}`, "TerraSecret"},
	{"secrets", "a shorter account key", "PasswordLength: 64", "PasswordLength: 32", "AccountKeySecret"},
	{"secrets", "letters that are no digits", "ghijkl", "hijkl", "AccountKeySecret"},
	{"encrypted", "a topic in the clear", "KmsMasterKeyId", "DisplayName", "TransfersTopic"},
	{"encrypted", "logs in the clear", "KmsKeyId: !If [OwnKey, !GetAtt EncryptionKey.Arn, !Ref KeyArn]", "LogGroupClass: STANDARD", "SweepLogs"},
	{"encrypted", "AWS's key instead of the one", "!If [OwnKey, !GetAtt EncryptionKey.Arn, !Ref KeyArn]", "alias/aws/dynamodb", "AccountsTable"},
	{"encrypted", "the key does not rotate", "EnableKeyRotation: true", "EnableKeyRotation: false", "EncryptionKey"},
	{"key policy", "alarms cannot use the key", "cloudwatch.amazonaws.com", "events.amazonaws.com", "EncryptionKey"},
	{"key policy", "a log group elsewhere", "/aws/lambda/${AWS::StackName}/sweep", "/aws/lambda/${AWS::StackName}-sweep", "SweepLogs"},
	{"least privilege", "one action for all", "dynamodb:UpdateItem\n", "dynamodb:*\n", "SettlePolicy"},
	{"least privilege", "all topics", "Resource: !Ref TransfersTopic", "Resource: '*'", "SettlePolicy"},
	{"least privilege", "a statement is lost", "secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret", "SettlePolicy"},
	{"least privilege", "accounts can be read", "'#key'", "'*'", "SettlePolicy"},
	{"least privilege", "the key for everything", "Condition: { StringEquals: { 'kms:ViaService'", "Conditio: { StringEquals: { 'kms:ViaService'", "SettlePolicy"},
	{"least privilege", "AWS's wide policy", "!Ref SettlePolicy", "arn:aws:iam::aws:policy/AmazonDynamoDBFullAccess", "WebhookRole"},
	{"least privilege", "any account's scheduler", "'aws:SourceAccount'", "'aws:PrincipalAccount'", "ScheduleRole"},
	{"least privilege", "the sweep cannot report", "'sqs.${AWS", "'sns.${AWS", "SweepPolicy"},
	{"topics", "a FIFO topic without its ending", "-transfers.fifo", "-transfers", "TransfersTopic"},
	{"topics", "every alarm silenced", "cloudwatch.amazonaws.com", "events.amazonaws.com", "AlarmsTopicPolicy"},
	{"topics", "no TLS", "'false'", "'true'", "TransfersTopicPolicy"},
	{"topics", "the old signature", "SignatureVersion: '2'", "SignatureVersion: '1'", "TransfersTopic"},
	{"way in", "every method", "Method: POST", "Method: ANY", "WebhookFunction"},
	{"way in", "the log tells who called", "$context.routeKey", "$context.identity.sourceIp", "WebhookApi"},
	{"way in", "the log is not JSON", `"$context.integration.latency"`, `$context.integration.latency`, "WebhookApi"},
	{"way in", "no throttling", "ThrottlingRateLimit", "ThrottlingRate", "WebhookApi"},
	{"functions", "a shared role", "WebhookRole.Arn", "SweepRole.Arn", "WebhookFunction"},
	{"functions", "logs for ever", "RetentionInDays: !Ref LogRetentionDays", "LogGroupClass: STANDARD", "WebhookLogs"},
	{"functions", "a suppression without a reason", "It is called synchronously, so nothing ever reaches a dead-letter queue. Terra retries for 24 hours.", "later", "WebhookFunction"},
	{"sweep", "two stacks collide", "ScheduleExpression", "Name: sweep\n      ScheduleExpression", "SweepSchedule"},
	{"sweep", "no dead-letter queue", "DeadLetterConfig", "DeadLetter", "SweepSchedule"},
	{"sweep", "the sweep past its alias", "!Ref SweepFunction.Alias", "!GetAtt SweepFunction.Arn", "SweepSchedule"},
	{"revoke", "it is on unless refused", "Default: 'off'", "Default: newest-wins", "Revoke"},
	{"revoke", "a queue that nobody asked for", "    Condition: Revoking\n", "", "RevokeQueue"},
	{"whole", "the others need what is not there", "!If [Revoking, !GetAtt RevokeFunction.Arn, !Ref AWS::NoValue]", "!GetAtt RevokeFunction.Arn", "DeploymentPolicy"},
	{"revoke", "guesses are acted upon", "[signed, terra]", "[signed, terra, observed]", "RevokeSubscription"},
	{"revoke", "only half of what is sure", "[signed, terra]", "[signed]", "RevokeSubscription"},
	{"revoke", "a type that nobody announces", "account.transferred.v1", "account.transferred", "RevokeSubscription"},
	{"revoke", "no filter", "FilterPolicy:", "Filter:", "RevokeSubscription"},
	{"revoke", "a filter on the body", "MessageAttributes", "MessageBody", "RevokeSubscription"},
	{"revoke", "undelivered is lost", "RedrivePolicy", "Redrive", "RevokeSubscription"},
	{"revoke", "an envelope around it", "RawMessageDelivery: true", "RawMessageDelivery: false", "RevokeSubscription"},
	{"revoke", "SNS may not send", "sns.amazonaws.com", "events.amazonaws.com", "RevokeQueuePolicy"},
	{"revoke", "anybody's topic may send", "'aws:SourceArn': !Ref TransfersTopic", "'aws:SourceArn': '*'", "RevokeQueuePolicy"},
	{"revoke", "undelivered cannot be kept", "sqs:SendMessage", "sqs:ReceiveMessage", "RevokeUndeliveredPolicy"},
	{"revoke", "a failure comes back for ever", "RedrivePolicy", "Redrive", "RevokeQueue"},
	{"revoke", "given up at once", "maxReceiveCount: 8", "maxReceiveCount: 1", "RevokeQueue"},
	{"revoke", "a second function at the same message", "VisibilityTimeout: 900", "VisibilityTimeout: 60", "RevokeQueue"},
	{"revoke", "dead letters go before anybody looks", "1209600", "345600", "RevokeDeadLetters"},
	{"revoke", "a FIFO queue without its ending", "-revoke.fifo", "-revoke", "RevokeQueue"},
	{"revoke", "dead letters of another type", "FifoQueue: !If [Fifo, true, !Ref AWS::NoValue]", "FifoQueue: true", "RevokeDeadLetters"},
	{"revoke", "two queues of one name", "-revoke-undelivered.fifo", "-revoke.fifo", "RevokeUndelivered"},
	{"revoke", "one failure repeats the batch", "FunctionResponseTypes", "FunctionResponse", "RevokeFunction"},
	{"revoke", "a batch that does not fit", "BatchSize: 5", "BatchSize: 10", "RevokeFunction"},
	{"revoke", "a deployment without its function", "PassthroughCondition: true", "PassthroughCondition: false", "RevokeFunction"},
	{"rollback", "errors do not stop a deployment of the revoke function", "!Ref RevokeErrorsAlarm", "!Ref WebhookErrorsAlarm", "RevokeFunction"},
	{"revoke", "as many at once as there are", "MaximumConcurrency: 2", "MaximumConcurrency: 1000", "RevokeFunction"},
	{"key policy", "announcements cannot be put into the queue", "sns.amazonaws.com", "events.amazonaws.com", "EncryptionKey"},
	{"key policy", "SNS has the key though nobody revokes", "- Revoking", "- OwnKey", "EncryptionKey"},
	{"least privilege", "the sweep may read every account", "'#note/*'", "'*'", "SweepPolicy"},
	{"least privilege", "the walk is lost", "dynamodb:Scan", "dynamodb:DescribeTable", "SweepPolicy"},
	{"least privilege", "nobody can be forgotten", "dynamodb:DeleteItem", "dynamodb:DescribeTable", "SweepPolicy"},
	{"least privilege", "every queue can be emptied", "Resource: !GetAtt RevokeQueue.Arn", "Resource: '*'", "RevokePolicy"},
	{"least privilege", "messages cannot be decrypted", "'sqs.${AWS", "'sns.${AWS", "RevokePolicy"},
	{"encrypted", "announcements in the clear", "KmsMasterKeyId", "DisplayName", "RevokeQueue"},
	{"topics", "a queue without TLS", "aws:SecureTransport", "aws:ViaAWSService", "RevokeUndeliveredPolicy"},
	{"environment", "always a dry run", "Default: 'false'", "Default: 'true'", "RevokeDryRun"},
	{"environment", "the policy is not told", "REVOKE_POLICY", "POLICY", "RevokeFunction"},
	{"environment", "days, which Go does not know", "Default: 9600h", "Default: 400d", "Retention"},
	{"environment", "another default than the functions'", "Default: 24h", "Default: 48h", "NotRevokedAfter"},
	{"versions", "the policy never arrives", "${Revoke} ", "", "RevokeFunction"},
	{"versions", "the retention never arrives", " ${Retention}", "", "SweepFunction"},
	{"alarms", "nobody hears of dead letters", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesReceived", "RevokeDeadLettersAlarm"},
	{"alarms", "a queue that nobody reads", "ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible", "RevokeWaitingAlarm"},
	{"composite", "dead letters are not in it", ` OR ALARM("${RevokeDeadLettersAlarm}")`, "", "NeedsAPersonAlarm"},
	{"composite", "an alarm that is not there", "            - Revoking", "            - Fifo", "NeedsAPersonAlarm"},
	{"environment", "a variable is renamed", "TERRA_API_URL", "TERRA_API", "Globals"},
	{"environment", "a default that the code refuses", "Default: 26h", "Default: 26", "ReplayWindow"},
	{"versions", "a parameter that never arrives", "${ReplayWindow} ", "", "WebhookFunction"},
	{"versions", "the topic's type never arrives", "${TransfersTopicType} ", "", "SweepFunction"},
	{"versions", "a version of nothing", "${KeyArn}", "${KeyArn} ${WebhookConcurrency}", "WebhookFunction"},
	{"versions", "too long a description", "MaxLength: 64", "MaxLength: 128", "TerraApiUrl"},
	{"alarms", "another stack's metric", "Value: !Ref AWS::StackName", "Value: handover", "WebhookFailingAlarm"},
	{"alarms", "a topic's ARN for its name", "!GetAtt TransfersTopic.TopicName", "!Ref TransfersTopic", "NotDeliveredAlarm"},
	{"alarms", "a queue's URL for its name", "!GetAtt SweepDeadLetters.QueueName", "!Ref SweepDeadLetters", "SweepDeadLettersAlarm"},
	{"alarms", "what was sent, not what is there", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesSent", "SweepDeadLettersAlarm"},
	{"alarms", "silence is fine", "TreatMissingData: breaching", "TreatMissingData: notBreaching", "QuietAlarm"},
	{"alarms", "a quiet minute is an error", "TreatMissingData: notBreaching", "TreatMissingData: breaching", "WebhookErrorsAlarm"},
	{"alarms", "another function is watched", "!Ref SweepFunction }", "!Ref WebhookFunction }", "SweepErrorsAlarm"},
	{"alarms", "an average hides the slow", "ExtendedStatistic: p99", "Statistic: Average", "WebhookDurationAlarm"},
	{"alarms", "longer than CloudWatch looks back", "EvaluationPeriods: 3\n", "EvaluationPeriods: 300\n", "WebhookLatencyAlarm"},
	{"alarms", "operators' alarms at the subscribers", "AlarmActions: [!Ref AlarmsTopic]", "AlarmActions: [!Ref TransfersTopic]", "QuietAlarm"},
	{"alarms", "no word on what to do", "First:", "Then:", "SweepErrorsAlarm"},
	{"alarms", "an alarm is lost", "AWS::CloudWatch::Alarm", "AWS::CloudFormation::WaitConditionHandle", "AccountsThrottledAlarm"},
	{"composite", "an alarm is not in it", ` OR ALARM("${SweepErrorsAlarm}")`, "", "NeedsAPersonAlarm"},
	{"whole", "a circle", "!Ref WebhookDurationAlarm", "!Ref WebhookLatencyAlarm", "WebhookFunction"},
	{"rollback", "a composite alarm", "!Ref WebhookErrorsAlarm", "!Ref NeedsAPersonAlarm", "WebhookFunction"},
	{"parameters", "a credential by parameter", "  Source:\n", "  TerraApiKey:\n", "WatchDataEvents"},
	{"parameters", "a default outside its limits", "Default: 24", "Default: 0", "QuietHours"},
	{"parameters", "a limit without words", "ConstraintDescription", "Constraint", "RateLimit"},
	{"parameters", "a choice without words", "ConstraintDescription", "Constraint", "Revoke"},
	{"whole", "the way in among the webhook function's settings", "STACK_NAME: !Ref AWS::StackName", "WEBHOOK_URL: !Ref WebhookApi", "Globals"},
	{"environment", "no heartbeat", "WEBHOOK_URL", "URL", "SweepFunction"},
	{"environment", "a heartbeat past the way in", "/webhook\n", "/\n", "SweepFunction"},
	{"environment", "metrics of another stack", "STACK_NAME: !Ref AWS::StackName", "STACK_NAME: handover", "Globals"},
	{"alarms", "a metric that nobody counts", "MetricName: Accepted", "MetricName: Acepted", "QuietAlarm"},
	{"alarms", "forgeries count as webhooks", "MetricName: Accepted", "MetricName: SignatureFailures", "QuietAlarm"},
	{"alarms", "silence of the heartbeat is fine", "TreatMissingData: breaching", "TreatMissingData: notBreaching", "WayInBrokenAlarm"},
	{"alarms", "no sweep, no alarm", "TreatMissingData: breaching", "TreatMissingData: missing", "SweepNotRunningAlarm"},
	{"alarms", "what is measured once a day is forgotten", "TreatMissingData: ignore", "TreatMissingData: notBreaching", "UnidentifiableAlarm"},
	{"alarms", "ages are summed up", "Statistic: Maximum", "Statistic: Sum", "UnsettledAlarm"},
	{"alarms", "counts are averaged", "Statistic: Sum", "Statistic: Average", "SignatureFailuresAlarm"},
	{"alarms", "always raised", "Threshold: 1\n", "Threshold: 0\n", "GuessesAlarm"},
	{"alarms", "the other way round", "GreaterThanOrEqualToThreshold", "LessThanThreshold", "TerraFailingAlarm"},
	{"alarms", "no dimension", "Dimensions: [{ Name: Stack,", "Dimensions: [{ Name: StackName,", "NotRevokedAlarm"},
	{"alarms", "a unit that nobody writes", "Statistic: Sum", "Unit: Bytes\n      Statistic: Sum", "CrowdedAlarm"},
	{"alarms", "the log's count is of no stack", "{ Key: Stack, Value: $.stack }", "{ Key: Stack, Value: $.other }", "GatewayTooLarge"},
	{"alarms", "a filter that finds nothing", "$.status = 429", "$.status = \"429\"", "GatewayThrottled"},
	{"alarms", "a filter of the wrong log", "!Ref WebhookApiLogs", "!Ref WebhookLogs", "GatewayUnreadable"},
	{"alarms", "a link to no section", "RUNBOOK.md#quiet", "RUNBOOK.md#silence", "QuietAlarm"},
	{"alarms", "a command that looks for nothing", "$.Guesses", "$.guess", "GuessesAlarm"},
	{"alarms", "a log that is not there", "/webhook-api --since", "/api --since", "WebhookLatencyAlarm"},
	{"way in", "the log does not say whose it is", "\"stack\":\"${AWS::StackName}\"", "\"stack\":\"handover\"", "WebhookApi"},
	{"dashboard", "no JSON", "\"start\":\"-P1D\",", "\"start\":-P1D,", "Dashboard"},
	{"dashboard", "a metric that nobody counts", "\"UnsettledAge\"", "\"Age\"", "Dashboard"},
	{"dashboard", "an alarm is not on it", "\"${GuessesAlarm.Arn}\", ", "", "Dashboard"},
	{"dashboard", "a queue is not on it", "${RevokeUndelivered.QueueName}", "${RevokeQueue.QueueName}", "Dashboard"},
	{"dashboard", "another region", "\"region\":\"${AWS::Region}\"", "\"region\":\"us-east-1\"", "Dashboard"},
	{"dashboard", "a question is not answered", "Is anyone waiting?", "Waiting", "Dashboard"},
	{"rollback", "answers of 500 do not stop a deployment", ", !Ref WebhookFailingAlarm", "", "WebhookFunction"},
	{"parameters", "nothing for the Serverless Application Repository", "SemanticVersion: 0.1.0", "Version: 0.1.0", "AWS::ServerlessRepo::Application"},
	{"whole", "what does not exist", "!Ref SettlePolicy, !Ref RevokePolicy", "!Ref SettlePolicy, !Ref RevokingPolicy", "RevokeRole"},
	{"functions", "anybody's API may call", "Method: POST, Path: /webhook", "Method: POST, Path: /hook", "WebhookFunction"},
	{"outputs", "no URL for Terra", "/webhook\n", "\n", "Outputs"},
	{"encrypted", "the key is disabled", "EnableKeyRotation: true", "Enabled: false\n      EnableKeyRotation: true", "EncryptionKey"},
	{"key policy", "logs may only describe the key", "['kms:Encrypt*', 'kms:Decrypt*', 'kms:ReEncrypt*', 'kms:GenerateDataKey*', 'kms:Describe*']", "['kms:Describe*']", "EncryptionKey"},
	{"key policy", "nobody administers the key", "Action: kms:*", "Action: kms:Describe*", "EncryptionKey"},
	{"key policy", "cloudwatch is denied the key", "- Sid: AlarmsIntoTheirTopic\n            Effect: Allow", "- Sid: AlarmsIntoTheirTopic\n            Effect: Deny", "EncryptionKey"},
	{"least privilege", "announcing is denied", "- Sid: Announce\n            Effect: Allow", "- Sid: Announce\n            Effect: Deny", "SettlePolicy"},
	{"least privilege", "secrets are denied", "- Sid: ReadSecrets\n            Effect: Allow", "- Sid: ReadSecrets\n            Effect: Deny", "SettlePolicy"},
	{"least privilege", "logging denied", "Effect: Allow", "Effect: Deny", "WebhookPolicy"},
	{"least privilege", "nobody can take on the role", "Action: 'sts:AssumeRole'", "Action: 'sts:TagSession'", "SweepRole"},
	{"least privilege", "trust denied", "Effect: Allow", "Effect: Deny", "WebhookRole"},
	{"least privilege", "CodeDeploy cannot assume", "Action: sts:AssumeRole", "Action: sts:GetCallerIdentity", "DeploymentRole"},
	{"least privilege", "a permissions boundary that forbids", "Properties:", "Properties:\n      PermissionsBoundary: arn:aws:iam::aws:policy/AWSDenyAll", "WebhookRole"},
	{"topics", "alarm policy on the other topic", "Action: sns:Publish\n            Resource: !Ref AlarmsTopic", "Action: sns:Publish\n            Resource: !Ref TransfersTopic", "AlarmsTopicPolicy"},
	{"topics", "everybody may subscribe", "- Sid: TlsOnly", "- Sid: Open\n            Effect: Allow\n            Principal: '*'\n            Action: sns:Subscribe\n            Resource: !Ref TransfersTopic\n            Condition: { StringEquals: { 'aws:SourceAccount': !Ref AWS::AccountId } }\n          - Sid: TlsOnly", "TransfersTopicPolicy"},
	{"topics", "a queue open to the world", "- Sid: TlsOnly", "- Sid: Open\n            Effect: Allow\n            Principal: '*'\n            Action: sqs:*\n            Resource: !GetAtt SweepDeadLetters.Arn\n          - Sid: TlsOnly", "SweepDeadLettersPolicy"},
	{"topics", "dead letters of the revoke function open to the world", "- Sid: TlsOnly", "- Sid: Open\n            Effect: Allow\n            Principal: '*'\n            Action: sqs:*\n            Resource: !GetAtt RevokeDeadLetters.Arn\n          - Sid: TlsOnly", "RevokeDeadLettersPolicy"},
	{"functions", "INFO lines, and with them the metrics, are dropped", "SystemLogLevel: WARN,", "SystemLogLevel: WARN, ApplicationLogLevel: ERROR,", "WebhookFunction"},
	{"functions", "a log class without metrics", "RetentionInDays", "LogGroupClass: INFREQUENT_ACCESS\n      RetentionInDays", "WebhookLogs"},
	{"functions", "a log class without filters", "RetentionInDays", "LogGroupClass: INFREQUENT_ACCESS\n      RetentionInDays", "WebhookApiLogs"},
	{"alarms", "latency beyond the gateway's own limit", "Threshold: 6500", "Threshold: 65000", "WebhookLatencyAlarm"},
	{"alarms", "duration beyond the timeout", "Threshold: 6000", "Threshold: 60000", "WebhookDurationAlarm"},
	{"alarms", "more than all", "Threshold: 10\n", "Threshold: 101\n", "UnidentifiableAlarm"},
	{"alarms", "older than the queue keeps", "Threshold: 10800", "Threshold: 400000", "RevokeWaitingAlarm"},
	{"alarms", "a thousand dead letters", "Threshold: 1\n", "Threshold: 1000\n", "RevokeDeadLettersAlarm"},
	{"alarms", "a thousand 500s a minute", "Threshold: 1\n", "Threshold: 1000\n", "WebhookFailingAlarm"},
	{"alarms", "a day of minutes that fail", "EvaluationPeriods: 1\n", "EvaluationPeriods: 1440\n", "WebhookErrorsAlarm"},
	{"alarms", "sweeps missing for a day", "EvaluationPeriods: 5\n", "EvaluationPeriods: 1440\n", "SweepNotRunningAlarm"},
	{"alarms", "a heartbeat every minute is wanted", "Period: 300", "Period: 60", "WayInBrokenAlarm"},
	{"alarms", "a week whatever QuietHours says", "EvaluationPeriods: !Ref QuietHours", "EvaluationPeriods: 168", "QuietAlarm"},
	{"alarms", "few samples are ignored", "ExtendedStatistic: p99", "EvaluateLowSampleCountPercentile: ignore\n      ExtendedStatistic: p99", "WebhookDurationAlarm"},
	{"alarms", "both logs must count", "MAX([FILL(function, 0), FILL(gateway, 0)])", "MIN([FILL(function, 0), FILL(gateway, 0)])", "BodiesTooLargeAlarm"},
	{"alarms", "only one of two logs", "MAX([FILL(function, 0), FILL(gateway, 0)])", "FILL(function, 0)", "BodiesTooLargeAlarm"},
	{"alarms", "too large is another status", "$.status = 413", "$.status = 414", "GatewayTooLarge"},
	{"alarms", "throttled is too large", "$.status = 429", "$.status = 413", "GatewayThrottled"},
	{"alarms", "unreadable is not found", "$.status = 400", "$.status = 404", "GatewayUnreadable"},
	{"composite", "a composite that tells nobody", "AlarmActions: [!Ref AlarmsTopic]", "ActionsEnabled: false\n      AlarmActions: [!Ref AlarmsTopic]", "NeedsAPersonAlarm"},
	{"composite", "a composite that is suppressed", "AlarmActions: [!Ref AlarmsTopic]", "ActionsSuppressor: !Ref QuietAlarm\n      ActionsSuppressorExtensionPeriod: 60\n      ActionsSuppressorWaitPeriod: 60\n      AlarmActions: [!Ref AlarmsTopic]", "NeedsAPersonAlarm"},
	{"alarms", "an hour of failures in a row", "EvaluationPeriods: 1\n", "EvaluationPeriods: 60\n", "NotDeliveredAlarm"},
	{"parameters", "concurrency without guard", "      - Assert: !Not [!Equals [!Ref WebhookConcurrency, '0']]\n        AssertDescription: WebhookConcurrency 0 would refuse every webhook. Say -1 to reserve none.\n", "", "ConcurrencyIsNotZero"},
	{"parameters", "the rule never fails", "!Not [!Equals [!Ref SweepConcurrency, '0']]", "!Not [!Equals [!Ref SweepConcurrency, '-2']]", "ConcurrencyIsNotZero"},
	{"parameters", "in the clear to Terra", "^https://", "^https?://", "TerraApiUrl"},
	{"parameters", "a key's alias", ":key/[A-Za-z0-9-]+$", ":(key|alias)/[A-Za-z0-9-]+$", "  KeyArn"},
	{"parameters", "hours beyond what CloudWatch takes", "MaxValue: 168", "MaxValue: 1000", "QuietHours"},
	{"parameters", "more memory than a new account may use", "MaxValue: 3008", "MaxValue: 30000", "WebhookMemory"},
	{"parameters", "a replay window of years", "[0-9]{0,2}h", "[0-9]{0,4}h", "ReplayWindow"},
	{"parameters", "a source with a space", "[A-Za-z0-9./_-]*$", "[A-Za-z0-9./_ -]*$", "Source"},
	{"parameters", "SAR licence lost", "LicenseUrl: LICENSE", "Licence: LICENSE", "AWS::ServerlessRepo::Application"},
	{"names", "alarms topic with a fixed name", "SignatureVersion: '2'", "TopicName: handover-alarms\n      SignatureVersion: '2'", "AlarmsTopic"},
	{"names", "an alarm with a fixed name", "Namespace: Handover", "AlarmName: quiet\n      Namespace: Handover", "QuietAlarm"},
	{"names", "a dead-letter queue with a fixed name", "MessageRetentionPeriod", "QueueName: sweep-dead-letters\n      MessageRetentionPeriod", "SweepDeadLetters"},
	{"names", "a function with a fixed name", "Description: Verifies", "FunctionName: webhook\n      Description: Verifies", "WebhookFunction"},
	{"names", "a dashboard with a fixed name", "DashboardBody", "DashboardName: handover\n      DashboardBody", "Dashboard"},
	{"names", "a role with a fixed name", "AssumeRolePolicyDocument", "RoleName: sweep\n      AssumeRolePolicyDocument", "SweepRole"},
	{"sweep", "sweep's dead letters gone within a minute", "MessageRetentionPeriod: 345600", "MessageRetentionPeriod: 60", "SweepDeadLetters"},
	{"revoke", "messages too large for the queue", "VisibilityTimeout: 900", "MaximumMessageSize: 1024\n      VisibilityTimeout: 900", "RevokeQueue"},
	{"rollback", "deployments all at once", "Type: !Ref Deployment", "Type: AllAtOnce", "WebhookFunction"},
	{"rollback", "revoke deployed all at once", "Type: !Ref Deployment", "Type: AllAtOnce", "RevokeFunction"},
	{"sweep", "a sweep that is a day late", "MaximumEventAgeInSeconds: 60", "MaximumEventAgeInSeconds: 86400", "SweepSchedule"},
	{"sweep", "a sweep some time in a quarter of an hour", "{ Mode: 'OFF' }", "{ Mode: FLEXIBLE, MaximumWindowInMinutes: 15 }", "SweepSchedule"},
	{"sweep", "the schedule ends", "ScheduleExpression: rate(1 minute)", "ScheduleExpression: rate(1 minute)\n      EndDate: '2027-01-01T00:00:00Z'", "SweepSchedule"},
	{"tables", "a table that takes one write a second", "BillingMode: PAY_PER_REQUEST", "BillingMode: PAY_PER_REQUEST\n      OnDemandThroughput: { MaxWriteRequestUnits: 1 }", "AccountsTable"},
	{"secrets", "the account key is replicated elsewhere", "GenerateSecretString:", "ReplicaRegions: [{ Region: us-west-2 }]\n      GenerateSecretString:", "AccountKeySecret"},
	{"outputs", "replay takes the live queue for dead letters", "Value: !Ref RevokeDeadLetters", "Value: !Ref RevokeQueue", "Outputs"},
	{"outputs", "sweep now invokes the webhook", "Value: !Ref SweepFunction", "Value: !Ref WebhookFunction", "Outputs"},
	{"outputs", "the pager on another alarm", "Value: !Ref NeedsAPersonAlarm", "Value: !Ref QuietAlarm", "Outputs"},
	{"way in", "warnings pass", "FailOnWarnings: true", "FailOnWarnings: false", "WebhookApi"},
	{"way in", "CORS for everybody", "FailOnWarnings: true", "FailOnWarnings: true\n      CorsConfiguration: true", "WebhookApi"},
	{"way in", "no throttling of the one route", "AccessLogSettings:", "RouteSettings: { 'POST /webhook': { ThrottlingRateLimit: 100000 } }\n      AccessLogSettings:", "WebhookApi"},
	{"revoke", "revoke filters everything out", "BatchSize: 5", "FilterCriteria: { Filters: [{ Pattern: '{\"body\":{\"none\":[\"x\"]}}' }] }\n            BatchSize: 5", "RevokeFunction"},
	{"revoke", "revoke waits five minutes for a batch", "BatchSize: 5", "MaximumBatchingWindowInSeconds: 300\n            BatchSize: 5", "RevokeFunction"},
}

func TestMutations(t *testing.T) {
	whole := read(t, "template.yaml")
	var mutants []template
	for _, m := range mutations {
		// The last such line is the resource's or the parameter's own; an earlier one is its label.
		from := max(0, strings.LastIndex(whole, m.in+":\n"))
		before, after := whole[:from], whole[from:]
		if from == 0 || !strings.Contains(after, m.old) {
			t.Fatalf("%s: there is no %q, or no %q after it", m.what, m.in, m.old)
		}
		mutant, err := parse(before + strings.Replace(after, m.old, m.new, 1))
		if err != nil {
			t.Fatalf("%s: %v", m.what, err)
		}
		mutants = append(mutants, mutant)
	}
	made, refused := transformed(t, mutants...)
	for i, m := range mutations {
		t.Run(m.promise+": "+m.what, func(t *testing.T) {
			if refused[i] != nil {
				t.Logf("SAM refuses it: %v", refused[i])
				return
			}
			p := slices.IndexFunc(promises, func(p promise) bool { return p.name == m.promise })
			if p < 0 {
				t.Fatalf("there is no promise %q", m.promise)
			}
			for _, configuration := range configurations {
				s, err := resolved(made[i], configuration.values)
				if err != nil {
					t.Logf("CloudFormation refuses it: %v", err)
					return
				}
				if faults := promises[p].check(s); len(faults) > 0 {
					t.Log(faults)
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}
