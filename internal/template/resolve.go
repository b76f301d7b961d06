// Package template judges template.yaml: its tests hold the file to its promises, on what CloudFormation gets after SAM's transform. The linters accept a
// template that replaces a table, an alarm that can never fire, or a policy that silences every alarm; the tests do not.
package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Resolve returns what CloudFormation makes of a template, as decoded from JSON, for the given values of parameters and pseudo-parameters ("AWS::Region");
// a parameter without a value has its default. Conditions are decided, what is not there is gone, and what depends on parameters only is a plain value. What
// only CloudFormation can know is left as {"Ref": "X"}, {"Fn::GetAtt": ["X", "Arn"]} or {"Fn::Sub": "…${X}…"}.
func Resolve(template map[string]any, values map[string]string) (map[string]any, error) {
	r := resolver{values: map[string]any{}, conditions: object(template["Conditions"])}
	for name, parameter := range object(template["Parameters"]) {
		value := fmt.Sprint(object(parameter)["Default"])
		if given, is := values[name]; is {
			value = given
		}
		if object(parameter)["Type"] == "Number" {
			r.values[name] = json.Number(value)
		} else {
			r.values[name] = value
		}
	}
	for name, value := range values {
		if strings.HasPrefix(name, "AWS::") {
			r.values[name] = value
		} else if r.values[name] == nil {
			return nil, fmt.Errorf("there is no parameter %s", name)
		}
	}
	resolved := maps.Clone(template)
	for _, part := range []string{"Parameters", "Conditions", "Rules", "Metadata"} {
		delete(resolved, part)
	}
	for _, part := range []string{"Resources", "Outputs"} {
		there := map[string]any{}
		for id, v := range object(template[part]) {
			if condition, has := object(v)["Condition"].(string); !has || r.holds(map[string]any{"Condition": condition}) {
				whole, _ := r.value(v).(map[string]any)
				delete(whole, "Condition")
				there[id] = whole
			}
		}
		resolved[part] = there
	}
	for _, v := range object(resolved["Resources"]) { // CloudFormation waits only for what is there
		if on, has := object(v)["DependsOn"].([]any); has {
			object(v)["DependsOn"] = slices.DeleteFunc(on, func(id any) bool { return object(resolved["Resources"])[fmt.Sprint(id)] == nil })
		}
	}
	return resolved, r.err
}

type resolver struct {
	values     map[string]any
	conditions map[string]any
	err        error
}

// noValue is what AWS::NoValue stands for.
type noValue struct{}

func (r *resolver) value(v any) any {
	switch v := v.(type) {
	case []any:
		resolved := []any{}
		for _, item := range v {
			if item = r.value(item); item != (noValue{}) {
				resolved = append(resolved, item)
			}
		}
		return resolved
	case map[string]any:
		if len(v) == 1 {
			for function, argument := range v {
				if result, known := r.function(function, argument); known {
					return result
				}
			}
		}
		resolved := map[string]any{}
		for name, item := range v {
			if item = r.value(item); item != (noValue{}) {
				resolved[name] = item
			}
		}
		return resolved
	}
	return v
}

func (r *resolver) function(name string, argument any) (result any, known bool) {
	switch name {
	case "Ref":
		if argument == "AWS::NoValue" {
			return noValue{}, true
		}
		if value, is := r.values[fmt.Sprint(argument)]; is {
			return value, true
		}
	case "Fn::GetAtt":
		if text, is := argument.(string); is {
			id, attribute, _ := strings.Cut(text, ".")
			return map[string]any{name: []any{id, attribute}}, true
		}
	case "Fn::If":
		if choice, is := argument.([]any); is && len(choice) == 3 {
			if r.holds(map[string]any{"Condition": choice[0]}) {
				return r.value(choice[1]), true
			}
			return r.value(choice[2]), true
		}
		r.fail("Fn::If", argument)
	case "Fn::Sub":
		return r.sub(argument), true
	case "Fn::Join":
		joined, _ := r.value(argument).([]any)
		if len(joined) == 2 {
			if parts, plain := texts(joined[1]); plain {
				return strings.Join(parts, fmt.Sprint(joined[0])), true
			}
		}
	}
	return nil, false
}

var variable = regexp.MustCompile(`\$\{([A-Za-z0-9_:.]+)\}`)

// sub puts in what is known: the text's own variables, parameters, and resources in the place of variables that stand for them.
func (r *resolver) sub(argument any) any {
	text, plain := argument.(string)
	var own map[string]any
	if list, is := argument.([]any); is && len(list) == 2 {
		text, plain = list[0].(string)
		own, _ = r.value(list[1]).(map[string]any)
	}
	if !plain {
		r.fail("Fn::Sub", argument)
		return argument
	}
	text = variable.ReplaceAllStringFunc(text, func(v string) string {
		name := v[2 : len(v)-1]
		value, has := own[name]
		if !has {
			if value, has = r.values[name]; !has {
				return v
			}
		}
		switch value := value.(type) {
		case string, json.Number, float64:
			return fmt.Sprint(value)
		case map[string]any:
			if id, is := value["Ref"].(string); is {
				return "${" + id + "}"
			}
			if at, is := value["Fn::GetAtt"].([]any); is {
				return fmt.Sprintf("${%v.%v}", at[0], at[1])
			}
			if inner, is := value["Fn::Sub"].(string); is {
				return inner
			}
		}
		r.fail("a variable of Fn::Sub", value)
		return v
	})
	if !variable.MatchString(text) {
		return strings.ReplaceAll(text, "${!", "${")
	}
	return map[string]any{"Fn::Sub": text}
}

// holds decides a condition.
func (r *resolver) holds(condition any) bool {
	all := func(argument any) (results []bool) {
		list, _ := argument.([]any)
		for _, c := range list {
			results = append(results, r.holds(c))
		}
		return results
	}
	for function, argument := range object(condition) {
		switch function {
		case "Condition":
			if definition := r.conditions[fmt.Sprint(argument)]; definition != nil {
				return r.holds(definition)
			}
		case "Fn::Equals":
			if sides, _ := r.value(argument).([]any); len(sides) == 2 {
				return fmt.Sprint(sides[0]) == fmt.Sprint(sides[1])
			}
		case "Fn::Not":
			if results := all(argument); len(results) == 1 {
				return !results[0]
			}
		case "Fn::And":
			return !slices.Contains(all(argument), false)
		case "Fn::Or":
			return slices.Contains(all(argument), true)
		}
	}
	r.fail("a condition", condition)
	return false
}

func (r *resolver) fail(what string, v any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s cannot be resolved: %v", what, v)
	}
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// texts returns the items of a list, and whether all are plain values.
func texts(v any) (items []string, plain bool) {
	list, is := v.([]any)
	for _, item := range list {
		switch item.(type) {
		case map[string]any, []any:
			return nil, false
		}
		items = append(items, fmt.Sprint(item))
	}
	return items, is
}
