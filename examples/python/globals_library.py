from course import same

cfn_return = same(expect, ans)
