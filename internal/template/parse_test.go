package template

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// top is the repository's top folder.
const top = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parse reads a template as plain values. A function in its short form (!Ref X) stands in its long one ({"Ref": "X"}).
func parse(text string) (template, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return nil, err
	}
	value, err := plain(document.Content[0])
	if err != nil {
		return nil, err
	}
	return value.(map[string]any), nil
}

func plain(n *yaml.Node) (any, error) {
	var value any
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := m[key]; twice {
				return nil, fmt.Errorf("line %d: %q twice", n.Content[i].Line, key)
			}
			var err error
			if m[key], err = plain(n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		value = m
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			v, err := plain(item)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		value = list
	case yaml.ScalarNode:
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			value = n.Value
		} else if err := n.Decode(&value); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("line %d: a YAML alias", n.Line)
	}
	if function, short := strings.CutPrefix(n.Tag, "!"); short && !strings.HasPrefix(function, "!") {
		if function != "Ref" {
			function = "Fn::" + function
		}
		if text, is := value.(string); is && function == "Fn::GetAtt" {
			id, attribute, _ := strings.Cut(text, ".")
			value = []any{id, attribute}
		}
		value = map[string]any{function: value}
	}
	return value, nil
}

// template is a CloudFormation template, as decoded from JSON.
type template map[string]any

// at returns what stands at a path such as "Resources/AccountsTable/Properties/KeySchema/0"; nil if nothing does. A ~ in it is a / in a name.
func at(value any, path string) any {
	for _, step := range strings.Split(path, "/") {
		if whole, is := value.(template); is {
			value = map[string]any(whole)
		}
		switch v := value.(type) {
		case map[string]any:
			value = v[strings.ReplaceAll(step, "~", "/")]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

func (t template) at(path string) any { return at(map[string]any(t), path) }

// resource is one of the template's resources.
type resource struct {
	id, kind   string
	properties map[string]any
	whole      map[string]any
}

func (t template) resource(id string) resource {
	whole, _ := t.at("Resources/" + id).(map[string]any)
	kind, _ := whole["Type"].(string)
	properties, _ := whole["Properties"].(map[string]any)
	return resource{id, kind, properties, whole}
}

// resources returns the resources of the given kinds (of all kinds if none is given), by logical id.
func (t template) resources(kinds ...string) []resource {
	var found []resource
	for _, id := range keys(t["Resources"]) {
		if r := t.resource(id); len(kinds) == 0 || slices.Contains(kinds, r.kind) {
			found = append(found, r)
		}
	}
	return found
}

func keys(m any) []string {
	var names []string
	object, _ := m.(map[string]any)
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// list makes a list of one value, as CloudFormation does.
func list(v any) []any {
	if l, is := v.([]any); is || v == nil {
		return l
	}
	return []any{v}
}

// text is v as JSON; maps by key.
func text(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

// references returns what v refers to: parameters, resources (without attribute) and conditions, each once, sorted.
func references(v any) []string {
	found := map[string]any{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for name, item := range v {
				switch target, _ := item.(string); {
				case name == "Ref" && target != "":
					found[target] = nil
				case name == "Fn::GetAtt" && at(item, "0") != nil:
					found[fmt.Sprint(at(item, "0"))] = nil
				case name == "Fn::Sub" && target == "": // a text and what its own variables stand for
					walk(map[string]any{"Fn::Sub": at(item, "0")})
					walk(at(item, "1"))
				case name == "Fn::Sub":
					for _, m := range variable.FindAllStringSubmatch(target, -1) {
						id, _, _ := strings.Cut(m[1], ".")
						found[id] = nil
					}
				case name == "Fn::If":
					found[at(item, "0").(string)] = nil
					walk(item)
				default:
					walk(item)
				}
			}
		}
	}
	walk(v)
	return keys(found)
}
