"""Prints, as JSON, the CloudFormation template that AWS makes of a SAM template.

transform.py TEMPLATE     of one file
transform.py              of each template of a JSON list on standard input: {"template": …}, or {"error": …} if SAM refuses it
"""

import json
import os
import sys

from samtranslator.translator.transform import transform

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")


class NoManagedPolicies:
    """SAM would look up AWS's managed policies by name; this template uses none."""

    def load(self):
        return {}


def transformed(template):
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"  # where "sam package" would have put it
    return transform(template, {}, NoManagedPolicies())


def attempt(template):
    try:
        return {"template": transformed(template)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if len(sys.argv) > 1:
    from cfnlint.decode import cfn_yaml

    json.dump(transformed(json.loads(json.dumps(cfn_yaml.load(sys.argv[1])))), sys.stdout, indent=2)
else:
    json.dump([attempt(template) for template in json.load(sys.stdin)], sys.stdout)
