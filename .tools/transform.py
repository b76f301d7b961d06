"""Prints, as JSON, the CloudFormation template that AWS makes of a SAM template: transform.py TEMPLATE [PARAMETER=VALUE …]"""

import json
import sys

from cfnlint.decode import cfn_yaml
from samtranslator.translator.transform import transform


class NoManagedPolicies:
    """SAM would look up AWS's managed policies by name; this template uses none."""

    def load(self):
        return {}


template = json.loads(json.dumps(cfn_yaml.load(sys.argv[1])))
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"  # where "sam package" would have put it
parameters = dict(argument.split("=", 1) for argument in sys.argv[2:])
json.dump(transform(template, parameters, NoManagedPolicies()), sys.stdout, indent=2)
