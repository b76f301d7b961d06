// Judges an AsyncAPI document, and says what is wrong with it: node .tools/asyncapi.mjs FILE
//
// The parser does not judge examples, so they are validated against their schemas here.
import { Parser, fromFile } from '@asyncapi/parser'
import Ajv from 'ajv'
import formats from 'ajv-formats'

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse()
const wrong = diagnostics.map((d) => `${d.path.join('.')}: ${d.message}`)
const ajv = formats(new Ajv({ strict: false }))
let examples = 0
for (const message of document?.allMessages() ?? []) {
  for (const example of message.examples()) {
    for (const [part, schema] of [['payload', message.payload().json().schema], ['headers', message.headers().json()]]) {
      examples++
      const validate = ajv.compile(JSON.parse(JSON.stringify(schema, (key, value) => (key === '$id' ? undefined : value)))) // ids may be added only once
      if (!validate(example[part]())) wrong.push(`${message.name()}, ${example.name()}, ${part}: ${ajv.errorsText(validate.errors)}`)
    }
  }
}
if (examples === 0) wrong.push('no examples')
console.log(wrong.join('\n'))
process.exitCode = wrong.length && 1
