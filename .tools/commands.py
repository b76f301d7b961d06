"""Says what is wrong with the commands of the AWS CLI on standard input, one a line: an operation or an option that AWS's API does not have."""

import shlex
import sys

import botocore.session
from botocore import xform_name

# What the CLI adds by itself: commands that are no operation, and options of all commands.
COMMANDS = {"logs tail", "cloudformation deploy"}
OPTIONS = {"query", "output", "cli-binary-format", "profile", "region"}
RENAMED = {"sns subscribe": {"notification-endpoint"}}

session = botocore.session.get_session()


def fault(command):
    words = shlex.split(command)
    service, operation, arguments = words[1], words[2], words[3:]
    if f"{service} {operation}" in COMMANDS:
        return None
    if service not in session.get_available_services():
        return f"there is no service {service}"
    model = session.get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in operations:
        return f"{service} has no {operation}"
    shape = model.operation_model(operations[operation]).input_shape
    known = OPTIONS | RENAMED.get(f"{service} {operation}", set()) | {xform_name(name, "-") for name in (shape.members if shape else {})}
    unknown = {word[2:] for word in arguments if word.startswith("--")} - known
    # A switch is turned off by --no-…, and what is one by nature is turned on by its name.
    unknown = {option for option in unknown if option.removeprefix("no-") not in known}
    return f"{service} {operation} has no {', '.join(sorted(unknown))}" if unknown else None


for command in sys.stdin.read().splitlines():
    try:
        problem = fault(command)
    except (ValueError, IndexError) as error:
        problem = str(error)
    if problem:
        print(f"{command}: {problem}")
