"""Common first names, by the pronoun that usually goes with them.

Names that are also common words (Will, May, Hope), places (Charlotte, Austin) or used with both
pronouns (Sam, Alex) are not among them.
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SHE = _names(
    """
    Abigail Ada Aisha Alexandra Alexis Alice Alicia Alison Allison Alyssa Amalia Amanda Amelia Amy
    Ana Andrea Angela Angelina Anita Anna Annabelle Anne Annie Arianna Ashley Audrey Ava Barbara
    Beatrice Becky Bella Bernice Beth Bethany Betsy Betty Beverly Bianca Brenda Bridget Brittany
    Caitlin Camila Candace Carla Carly Carmen Carol Caroline Carrie Cassandra Cassie Catherine
    Cecilia Celia Chelsea Chloe Christina Christine Cindy Claire Clara Claudia Colleen Connie Cora
    Courtney Crystal Cynthia Daisy Danielle Daphne Deborah Debra Delia Denise Diana Diane Dolores
    Donna Dora Doris Dorothy Edith Eileen Elaine Eleanor Elena Elise Eliza Elizabeth Ella Ellen
    Ellie Elsa Emilia Emily Emma Erica Erika Erin Esther Ethel Eva Eve Evelyn Farah Fatima Felicia
    Fiona Flora Frances Freda Gabriela Gabriella Gail Gina Giselle Gloria Greta Gretchen Gwen
    Hannah Harriet Hazel Heather Heidi Helen Helena Ida Ingrid Irene Iris Isabel Isabella Isla Ivy
    Jacqueline Jana Jane Janet Janice Jasmine Jeanne Jenna Jennifer Jenny Jessica Jill Joan Joanna
    Joanne Josephine Judith Judy Julia Juliana Julie Juliet Karen Karla Kate Katherine Kathleen
    Kathryn Kathy Katie Katrina Kayla Kelly Kelsey Kendra Kiara Kimberly Kristen Kristin Kristina
    Kylie Lara Laura Lauren Layla Leah Leila Lena Leslie Lillian Lily Linda Lindsay Lisa Lori
    Louise Lucia Lucy Luna Lydia Lynn Mabel Madeline Maggie Marcia Margaret Maria Marie Marilyn
    Marina Marissa Marjorie Marlene Marsha Martha Mary Matilda Maya Megan Melanie Melinda Melissa
    Mia Michelle Mila Mildred Miranda Molly Monica Nadia Nancy Naomi Natalie Natasha Nicole Nina
    Nora Norma Olga Olivia Pamela Patricia Paula Pauline Peggy Phoebe Phyllis Priscilla Rachel
    Rebecca Renee Rhonda Rita Roberta Rosa Rosalie Rosemary Roxanne Ruth Sabrina Sally Samantha
    Sandra Sara Sarah Selena Serena Shannon Sharon Sheila Shelley Sherry Shirley Silvia Sofia
    Sonia Sophia Sophie Stella Stephanie Sue Susan Susanna Suzanne Suzy Sylvia Tabitha Tamara
    Tanya Tara Tasha Teresa Tiffany Tina Tracy Trisha Uma Valerie Vanessa Vera Veronica Vicky
    Victoria Violet Vivian Wanda Wendy Wilma Yolanda Yvette Yvonne Zara Zoe
    """
)
"""Names that usually go with *she*."""

HE = _names(
    """
    Aaron Abdul Abraham Adam Adrian Ahmed Alan Albert Alberto Alejandro Alexander Alfred Ali Allan
    Allen Alvin Amir Anders Andre Andrew Andy Angelo Anthony Antonio Archie Arnold Arthur Barry
    Benjamin Bernard Billy Bob Bobby Boris Brad Bradley Brandon Brendan Brent Brett Brian Bruce
    Bruno Bryan Caleb Calvin Carl Carlos Cesar Charles Chester Christian Christopher Clarence
    Clark Clifford Clinton Colin Connor Craig Curtis Cyrus Damian Damon Dan Daniel Danny Darren
    Darryl Dave David Dennis Derek Derrick Diego Dimitri Dominic Don Donald Donovan Douglas Duncan
    Dustin Dylan Eddie Edgar Eduardo Edward Edwin Eli Elias Elijah Elliott Emanuel Emil Enrique
    Eric Erik Ernest Ethan Eugene Evan Felix Fernando Finn Francisco Fred Freddie Frederick
    Gabriel Garrett Gary Gavin George Gerald Gilbert Gordon Graham Greg Gregory Gunther Hamza Hank
    Harold Harry Hassan Hector Henry Herbert Herman Howard Hugo Ian Ibrahim Igor Isaac Ivan Jack
    Jacob Jake Jamal James Jared Jason Javier Jeff Jeffrey Jeremy Jerome Jerry Jesse Jim Jimmy Joe
    Joel Joey John Johnny Jonathan Jorge Jose Joseph Josh Joshua Juan Julian Julio Justin Karl
    Keith Ken Kenneth Kevin Kirk Kurt Kyle Lamar Larry Lawrence Leo Leon Leonard Liam Lloyd
    Lorenzo Louis Lucas Luis Luke Malcolm Malik Manuel Marcel Marco Marcus Mario Mark Martin
    Marvin Mason Matt Matthew Maurice Max Micah Michael Miguel Mike Miles Mitchell Mohamed Nate
    Nathan Nathaniel Ned Neil Nicholas Nick Nigel Noah Norman Oliver Omar Oscar Otto Owen Pablo
    Patrick Paul Pedro Pete Peter Philip Pierre Rafael Ralph Ramon Randall Randy Raul Raymond
    Reggie Ricardo Richard Rick Ricky Roberto Robert Rodney Roger Roland Roman Ronald Roy Ruben
    Rudy Russell Ryan Samir Samuel Santiago Saul Scott Sean Sebastian Sergio Seth Simon Spencer
    Stan Stanley Stefan Stephen Steve Steven Stuart Tariq Ted Terrence Theodore Thomas Tim Timothy
    Tobias Todd Tom Tommy Tony Travis Trevor Tyler Victor Vincent Vladimir Walter Warren Wayne
    Wesley William Xavier Yusuf Zachary Zack
    """
)
"""Names that usually go with *he*."""

BOTH = _names(
    """
    Alex Casey Charlie Chris Jamie Jordan Kim Lee Pat Riley Robin Sam Taylor Terry
    """
)
"""Names that go with *she* and *he*; they are found in problems, and replaced by one another."""
