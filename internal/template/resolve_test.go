package template

import (
	"encoding/json"
	"strings"
	"testing"
)

func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestResolve(t *testing.T) {
	given := decoded(t, `{
		"Metadata": {}, "Rules": {},
		"Parameters": {"Mode": {"Type": "String", "Default": "off"}, "Size": {"Type": "Number", "Default": 5}},
		"Conditions": {
			"On": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Mode"}, "off"]}]}, "Large": {"Fn::Equals": [{"Ref": "Size"}, "9"]},
			"Both": {"Fn::And": [{"Condition": "On"}, {"Condition": "Large"}]}, "Either": {"Fn::Or": [{"Condition": "On"}, {"Condition": "Large"}]}},
		"Resources": {
			"Queue": {"Type": "Q", "Condition": "On", "Properties": {"Both": {"Fn::If": ["Both", 1, 2]}}},
			"Topic": {"Type": "T", "DependsOn": ["Queue", "Other"], "Properties": {
				"Size": {"Ref": "Size"}, "Gone": {"Fn::If": ["Either", 1, {"Ref": "AWS::NoValue"}]}, "List": ["a", {"Fn::If": ["On", "b", {"Ref": "AWS::NoValue"}]}],
				"Plain": {"Fn::Sub": "${Mode} ${AWS::Region} ${!Mode}"}, "Rest": {"Fn::Sub": ["${Mode} ${Other.Arn} ${a} ${b}", {"a": {"Ref": "Other"}, "b": {"Fn::Sub": "<${Other.Name}>"}}]},
				"Joined": {"Fn::Join": ["/", ["a", {"Ref": "Mode"}]]}, "At": {"Fn::GetAtt": "Other.Arn.Part"}, "Ref": {"Ref": "Other"}}},
			"Other": {"Type": "O"}},
		"Outputs": {"Queue": {"Condition": "On", "Value": {"Ref": "Queue"}}}}`)
	for name, test := range map[string]struct {
		values map[string]string
		want   string
	}{
		"defaults": {map[string]string{"AWS::Region": "r"}, `{"Outputs":{},"Resources":{"Other":{"Type":"O"},"Topic":{"DependsOn":["Other"],"Properties":{
			"At":{"Fn::GetAtt":["Other","Arn.Part"]},"Joined":"a/off","List":["a"],"Plain":"off r ${Mode}","Ref":{"Ref":"Other"},
			"Rest":{"Fn::Sub":"off ${Other.Arn} ${Other} <${Other.Name}>"},"Size":5},"Type":"T"}}}`},
		"all on": {map[string]string{"AWS::Region": "r", "Mode": "on", "Size": "9"}, `{"Outputs":{"Queue":{"Value":{"Ref":"Queue"}}},"Resources":{"Other":{"Type":"O"},
			"Queue":{"Properties":{"Both":1},"Type":"Q"},"Topic":{"DependsOn":["Queue","Other"],"Properties":{
			"At":{"Fn::GetAtt":["Other","Arn.Part"]},"Gone":1,"Joined":"a/on","List":["a","b"],"Plain":"on r ${Mode}","Ref":{"Ref":"Other"},
			"Rest":{"Fn::Sub":"on ${Other.Arn} ${Other} <${Other.Name}>"},"Size":9},"Type":"T"}}}`},
	} {
		before := text(given)
		got, err := Resolve(given, test.values)
		if want := text(decoded(t, test.want)); err != nil || text(got) != want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, text(got), want)
		}
		if text(given) != before {
			t.Errorf("%s: the template was changed", name)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for what, test := range map[string]struct {
		template, want string
		values         map[string]string
	}{
		"a parameter that is not there": {`{}`, "there is no parameter Mode", map[string]string{"Mode": "on"}},
		"a condition that is not there": {`{"Resources":{"A":{"Condition":"On"}}}`, "a condition cannot be resolved", nil},
		"an unknown function":           {`{"Conditions":{"On":{"Fn::Contains":[]}},"Resources":{"A":{"Condition":"On"}}}`, "a condition cannot be resolved", nil},
		"half a choice":                 {`{"Resources":{"A":{"B":{"Fn::If":["On",1]}}}}`, "Fn::If cannot be resolved", nil},
		"a variable that is a list":     {`{"Resources":{"A":{"B":{"Fn::Sub":["${c}",{"c":[1]}]}}}}`, "a variable of Fn::Sub cannot be resolved", nil},
	} {
		if _, err := Resolve(decoded(t, test.template), test.values); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", what, err, test.want)
		}
	}
}
