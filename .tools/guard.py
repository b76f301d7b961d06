"""Judges resolved templates by the cfn-guard rules of AWS's IaC server, and by the schemas of all resources: guard.py TEMPLATE.json …

A guard rule is suppressed at the resource, by {"Metadata": {"guard": {"SuppressedRules": […]}}}.
"""

import sys
from importlib.resources import files

from cloudformation_validate import CompositeEngine, CompositeEngineConfig, ExternalRuleSource

# What says nothing of the template: a resolved one has every ARN spelt out (W9002, W9013), and SAM makes the versions (W3011).
RESOLVED = {"W9002", "W9013", "W3011"}

rules = files("awslabs.aws_iac_mcp_server").joinpath("data/default_guard_rules.guard").read_text()
engine = CompositeEngine(CompositeEngineConfig(guard_rules=[ExternalRuleSource(name="guard", content=rules)]))
guards = sum(rule.origin.name == "GUARD" for rule in engine.list_rules())
findings = set()
for template in sys.argv[1:]:
    for finding in engine.validate_template(template).diagnostics:
        if finding.severity.name != "INFO" and finding.rule_id not in RESOLVED:
            findings.add(f"{finding.entity.logical_id}: {finding.rule_id}: {finding.message}")
print(*sorted(findings), sep="\n")
print(f"{guards} guard rules")
sys.exit(bool(findings) or guards == 0)
