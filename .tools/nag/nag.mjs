// Judges resolved templates by cdk-nag's packs: nag.mjs TEMPLATE.json …
//
// A finding is suppressed where it is found: {"Metadata": {"cdk_nag": {"rules_to_suppress": [{"id": …, "reason": …}]}}} at the resource, or at the one that
// SAM made it from. The id is a rule's name without its pack's. A suppression that suppresses nothing in any of the templates is a finding, too.
import { App, Stack } from 'aws-cdk-lib';
import { CfnInclude } from 'aws-cdk-lib/cloudformation-include';
import { AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks, ServerlessChecks } from 'cdk-nag';
import { readFileSync } from 'node:fs';

const findings = new Set();
const suppressions = new Map();
const used = new Set();
for (const file of process.argv.slice(2)) {
  const resources = JSON.parse(readFileSync(file)).Resources;
  for (const [id, resource] of Object.entries(resources)) {
    for (const rule of resource.Metadata?.cdk_nag?.rules_to_suppress ?? []) {
      suppressions.set(`${id} ${rule.id}`, rule.reason);
    }
  }
  const app = new App({ analyticsReporting: false });
  const stack = new Stack(app, 'Stack');
  new CfnInclude(stack, 'Template', { templateFile: file });
  for (const Pack of [AwsSolutionsChecks, ServerlessChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks]) {
    for (const violation of new Pack(app).validateScope(stack).violations) {
      for (const { constructPath } of violation.violatingConstructs ?? violation.violatingResources) {
        const id = constructPath.split('/').pop();
        const rule = violation.ruleName.replace(/^.*?-(?=[A-Z])/, '');
        const by = [...suppressions.keys()].find((s) => {
          const [owner, suppressed] = s.split(' ');
          return id.startsWith(owner) && (rule === suppressed || rule.startsWith(`${suppressed}[`));
        });
        if (by) {
          used.add(by);
        } else {
          findings.add(`${id}: ${violation.ruleName}: ${violation.description}`);
        }
      }
    }
  }
}
for (const [suppression, reason] of suppressions) {
  const [id, rule] = suppression.split(' ');
  const copied = (u) => id.startsWith(u.split(' ')[0]) && rule === u.split(' ')[1]; // by SAM, to another resource that it makes of the same one
  if (![...used].some(copied)) findings.add(`${suppression}: suppresses nothing`);
  if (!(reason?.length > 20)) findings.add(`${suppression}: there is no reason`);
}
for (const finding of findings) console.log(finding);
process.exitCode = findings.size ? 1 : 0;
